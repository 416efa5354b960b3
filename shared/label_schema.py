"""Which labels of a model stand: a reviewer merges one into another, retires one, or restores it.

What was said stays as it was said: reading a target through the schema tells what it stands for now. Decisions hold in
the order of their time, so the same decisions make the same schema, in whatever order they are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select
from sqlmodel import Session, col

from shared.tables import Review


@dataclass(frozen=True)
class Ruling:
    """A reviewer's decision on a label: merge (into `target`), retire or restore."""

    label: str
    decision: str
    target: str | None = None


@dataclass(frozen=True)
class LabelSchema:
    """What each label stands for that is not itself: the one it was merged into, or None when it is retired."""

    into: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def named(self) -> frozenset[str]:
        """The labels that others were merged into."""
        return frozenset(label for label in self.into.values() if label is not None)

    def standing(self, label: str) -> str | None:
        """What a label stands for; None: nothing."""
        return self.into.get(label, label)


EVERY_LABEL = LabelSchema()


def schema_of(rulings: Iterable[Ruling]) -> LabelSchema:
    """The schema that decisions lead to, the oldest first.

    What was merged into a label goes where the label goes; what a label is merged into stands, whatever was before.
    """
    into: dict[str, str | None] = {}
    for ruling in rulings:
        if ruling.decision == "restore":
            into.pop(ruling.label, None)
            continue
        target = ruling.target if ruling.decision == "merge" else None
        if target is not None:
            into.pop(target, None)
        if target != ruling.label:
            into |= {label: target for label, now in into.items() if now == ruling.label}
            into[ruling.label] = target
    return LabelSchema(into)


def schemas(connection: Connection | Session, models: Iterable[str]) -> dict[str, LabelSchema]:
    """The schema of each of these models on whose labels anybody decided."""
    query = (
        select(
            col(Review.model), col(Review.occurred_at), col(Review.event_id), col(Review.label),
            col(Review.decision), col(Review.target),
        )
        .where(col(Review.model).in_(sorted(set(models))), col(Review.subject_kind) == "label")
    )  # fmt: skip
    told: dict[str, list[Ruling]] = defaultdict(list)
    for model, _, _, label, decision, target in sorted(connection.execute(query), key=lambda row: tuple(row[1:3])):
        if label is not None:
            told[model].append(Ruling(label, decision, target))
    return {model: schema_of(rulings) for model, rulings in told.items()}
