"""A new model's card: registers the model and imports the examples that a person vouches for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlmodel import col

from schemas.events import ModelStateChanged, TrainingRequested
from services.recorder.heads import Class
from services.recorder.sql import among, chunks, insert_new, replace
from shared.artifacts import ArtifactStore
from shared.datasets import Row, read_dataset
from shared.tables import Example, FeedbackRow, ModelRow, Vouched
from shared.text import class_of, example_id


@dataclass(frozen=True)
class Imported:
    """The datasets of one card, read and checked."""

    seeds: tuple[Row, ...]
    anchors: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Registered:
    """What a card touched: its examples, and the classes whose side may be another one."""

    examples: frozenset[str]
    classes: frozenset[Class]


def read_card(store: ArtifactStore, event: TrainingRequested) -> Imported | None:
    """The datasets that a request's card names; None without a card.

    Raises:
        ArtifactError: a dataset is missing or altered.
    """
    if event.card is None:
        return None
    anchors = read_dataset(store, event.card.anchor) if event.card.anchor else []
    return Imported(tuple(read_dataset(store, event.card.examples)), tuple(anchors))


def register(
    connection: Connection, requests: Sequence[TrainingRequested], datasets: Mapping[str, Imported]
) -> Registered:
    """Add the models of these requests' cards, and their examples. The first card of a model says what it is."""
    examples: set[str] = set()
    classes: set[Class] = set()
    for event in requests:
        if event.card is None:
            continue
        _add_model(connection, event)
        rows = _vouched(event, datasets[event.event_id])
        new = insert_new(connection, rows)
        vouch(connection, [row for row in rows if row.example_id in new])
        examples |= new
        classes |= {(row.model, class_of(row.example_id)) for row in rows if row.example_id in new}
    return Registered(frozenset(examples), frozenset(classes))


def note_states(connection: Connection, events: Iterable[ModelStateChanged]) -> None:
    """Add models that are known by nothing but their state."""
    rows = [
        ModelRow(name=event.model, task=event.task, base=event.base, added_at=event.occurred_at) for event in events
    ]
    insert_new(connection, rows)


def _add_model(connection: Connection, event: TrainingRequested) -> None:
    assert event.card is not None
    query = select(col(ModelRow.request_id), col(ModelRow.labels)).where(col(ModelRow.name) == event.model)
    known = connection.execute(query).one_or_none()
    if known is not None and known.request_id is not None:
        return
    row = ModelRow(
        name=event.model,
        task=event.card.task,
        base=event.card.base,
        labels=known.labels if known else [],
        added_at=event.occurred_at,
        request_id=event.request_id,
    )
    replace(connection, [row])


def _vouched(event: TrainingRequested, imported: Imported) -> list[Vouched]:
    """The rows of both files, one an input: the anchor before the seeds, else the first."""
    rows: dict[str, Vouched] = {}
    for origin, some in (("anchor", imported.anchors), ("seed", imported.seeds)):
        for row in some:
            key = example_id(event.model, row.text)
            rows.setdefault(
                key,
                Vouched(
                    example_id=key,
                    model=event.model,
                    text=row.text,
                    target=row.label.strip(),
                    origin=origin,
                    request_id=event.request_id,
                    occurred_at=event.occurred_at,
                ),
            )
    return list(rows.values())


def vouch(connection: Connection, rows: Sequence[Vouched]) -> None:
    """Make rows that a person vouches for examples, whatever was there: all that users said of them is further now."""
    for ids in chunks(row.example_id for row in rows):
        first = select(col(Example.first_event)).where(among(connection, Example.id, ids))
        said = col(FeedbackRow.event_id).in_(first) & among(connection, FeedbackRow.example_id, ids)
        connection.execute(update(FeedbackRow).where(said).values(further=True))
    replace(connection, [_example(row) for row in rows])


def _example(row: Vouched) -> Example:
    """A row that a person vouches for, as an example that nobody has judged yet."""
    return Example(
        id=row.example_id,
        model=row.model,
        text=row.text,
        origin=row.origin,
        side="anchor" if row.origin == "anchor" else "train",
        status="pending",
        first_at=row.occurred_at,
        first_event=row.request_id,
    )
