"""One batch of events into SQL, in one transaction: facts first, then everything that follows from them.

What follows (sides, caps, labels, trust, lineage, the example view) depends on the set of facts alone, never on the
order in which topics or partitions were read; each step tells which examples it touched, and those are judged at the
end, once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from sqlalchemy import Connection, select
from sqlmodel import col

from schemas.events import (
    CandidateTrained,
    Event,
    EventsCounted,
    FeedbackReceived,
    ModelStateChanged,
    ReviewDecided,
    TrainingRequested,
    UserErased,
    VerdictReached,
)
from services.recorder import (
    accounting,
    accounts,
    anchors,
    caps,
    datasets,
    draws,
    erasures,
    examples,
    facts,
    heads,
    join,
    labels,
    lineage,
    newcomers,
    orphans,
    rebuild,
    shelves,
    voices,
    window,
)
from services.recorder.accounting import Arrivals, Ends, Outcome
from services.recorder.datasets import Imported
from services.recorder.erasures import Erased
from services.recorder.heads import Class, Newcomer
from services.recorder.identity import content_of
from services.recorder.join import Joined
from services.recorder.labels import Named
from services.recorder.records import Record
from services.recorder.shelves import Letters
from services.recorder.sql import insert_new, lock, replace
from shared import label_schema
from shared import letters as letterbox
from shared.envelope import Outgoing, seal
from shared.errors import UnavailableError
from shared.policy import PolicyFile
from shared.tables import Consumed, Example, FeedbackRow, Receipt, consumed

SERVICE = "recorder"
EventType = TypeVar("EventType", bound=Event)


@dataclass(frozen=True)
class Batch:
    """What one poll brought: events, the datasets of their cards by event id, dead letters, and where to go on.

    `arrivals` says which process accepted which event, `origins` which record an event (by its `id()`) came in.
    `firsts` is the first offset of each partition (topic, number) that it brings.
    """

    events: tuple[Event, ...] = ()
    datasets: Mapping[str, Imported] = field(default_factory=dict)
    letters: Letters = field(default_factory=dict)
    offsets: tuple[Consumed, ...] = ()
    arrivals: Arrivals = field(default_factory=Arrivals)
    origins: Mapping[int, Record] = field(default_factory=dict)
    firsts: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def of(self, event_type: type[EventType]) -> list[EventType]:
        """The events of one type, in order."""
        return cast(list[EventType], self._by_type.get(event_type, []))

    @cached_property
    def _by_type(self) -> dict[type[Event], list[Event]]:
        found: dict[type[Event], list[Event]] = defaultdict(list)
        for event in self.events:
            found[type(event)].append(event)
        return found


@dataclass
class Touched:
    """What has to be looked at again before the transaction ends."""

    examples: set[str] = field(default_factory=set)
    newcomers: dict[str, Newcomer] = field(default_factory=dict)
    votes: list[Joined] = field(default_factory=list)
    counted: frozenset[str] = frozenset()
    created: set[str] = field(default_factory=set)
    lessons: set[str] = field(default_factory=set)
    classes: set[Class] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    fresh: set[Named] = field(default_factory=set)
    doubtful: set[Named] = field(default_factory=set)
    held: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Recorded:
    """What a batch came to: events whose id another had taken, events by outcome, what to publish before the commit.

    `held` says how many examples went into quarantine, by the rule that holds them.
    """

    conflicts: int
    outcomes: Mapping[Outcome, int]
    out: tuple[Outgoing, ...] = ()
    held: Mapping[str, int] = field(default_factory=dict)


def record(connection: Connection, batch: Batch, policies: PolicyFile) -> Recorded:
    """Write a batch and what follows from it; the caller commits.

    Raises:
        UnavailableError: another recorder has recorded some of it; nothing is written.
    """
    lock(connection)
    _claim(connection, batch)
    touched = Touched()
    lines = lineage.lines(connection, _models_with_news(batch))
    regrouped = {event.model for event in batch.of(ReviewDecided) if event.subject_kind == "label"}
    standing = label_schema.schemas(connection, regrouped) if regrouped else {}
    facts.store(connection, batch.of(UserErased))
    said = [event for event in batch.events if type(event) is not UserErased]
    out = shelves.note(connection, batch.letters)
    kept = _not_put_aside(connection, batch, erasures.screen(connection, said))
    stored = facts.store(connection, kept, redaction=policies.privacy.redact)
    out += _conflict_letters(batch, stored)
    replace(connection, batch.offsets)
    out += _erase(connection, batch, touched, policies)
    _forget(connection, erasures.remove(connection, _newly_orphaned(batch)), touched, policies)
    _register(connection, batch, touched, policies)
    _join(connection, stored, touched, policies)
    outcomes = accounting.settle(connection, batch.arrivals, batch.of(EventsCounted), _ends(batch, kept, stored))
    _follow_versions(connection, batch, lines, touched)
    touched.examples |= {event.subject for event in batch.of(ReviewDecided) if event.subject_kind == "example"}
    if regrouped:
        ruled = labels.ruled(connection, regrouped, standing)
        touched.doubtful |= ruled.labels
        touched.examples |= ruled.examples
    _settle(connection, touched, policies)
    return Recorded(len(stored.conflicts), outcomes, tuple(out), touched.held)


def _claim(connection: Connection, batch: Batch) -> None:
    """Refuse what is recorded already: a recorder that was frozen may wake up after another took its partitions."""
    places = consumed(connection) if batch.firsts else {}
    for part, first in batch.firsts.items():
        if places.get(part, first) > first:
            raise UnavailableError(f"{part[0]}/{part[1]} is recorded up to {places[part]}, by another recorder.")


def _conflict_letters(batch: Batch, stored: facts.Stored) -> list[Outgoing]:
    """The records whose id another event had taken; what it says under that id is kept, though not counted.

    A letter is named by what it says: the log may hold the same event twice, as when a broker that died had taken it.
    """
    letters = []
    for event in stored.conflicts:
        if (record := batch.origins.get(id(event))) is not None:
            name = f"{record.topic}/{event.event_id}/{content_of(event)}/{SERVICE}"
            why = stored.reasons[id(event)]
            letters.append(letterbox.write(record, SERVICE, why, "The first event of an id holds.", name=name))
    return letters


def _ends(batch: Batch, kept: Sequence[Event], stored: facts.Stored) -> Ends:
    """What became of the batch's events, by their ids."""
    erasing = {event.event_id for event in batch.of(UserErased)}
    left_out: set[str] = set()
    if len(kept) + len(batch.of(UserErased)) < len(batch.events):
        left_out = {event.event_id for event in batch.events} - {event.event_id for event in kept} - erasing
    conflicts = {(event.event_id, event.occurred_at) for event in stored.conflicts}
    return Ends(stored.events | erasing, left_out, conflicts)


def _not_put_aside(connection: Connection, batch: Batch, events: list[Event]) -> list[Event]:
    """The events but for feedback that was put aside as an orphan and not sent again."""
    said = [one for one in events if type(one) is FeedbackReceived and not _is_redriven(batch, one)]
    gone = orphans.put_aside(connection, [one.event_id for one in said])
    return [event for event in events if event.event_id not in gone] if gone else events


def _is_redriven(batch: Batch, event: Event) -> bool:
    record = batch.origins.get(id(event))
    return record is not None and letterbox.REDRIVEN in record.headers


def _newly_orphaned(batch: Batch) -> set[str]:
    """The feedback that the batch's letters put aside as orphans."""
    return {
        one.event_id
        for one in batch.letters.values()
        if one is not None and one.reason == orphans.ORPHAN and one.event_id and not one.redriven
    }


def _erase(connection: Connection, batch: Batch, touched: Touched, policies: PolicyFile) -> list[Outgoing]:
    """Forget users; what takes their dead letters back, and asks for versions that do not hold them."""
    out: list[Outgoing] = []
    for event in batch.of(UserErased):
        until = erasures.forgotten(connection, [event.user_key])[event.user_key]
        lost = erasures.erase(connection, event.user_key, until)
        asked = rebuild.requests(connection, event, lost.examples | lost.events)
        examples = _forget(connection, lost, touched, policies)
        letters = shelves.erase(connection, event.user_key, until)
        counts = Receipt(
            **event.model_dump(include={"event_id", "user_key", "occurred_at"}),
            predictions=lost.predictions,
            feedback=lost.feedback,
            examples=examples,
            dead_letters=len(letters),
        )
        insert_new(connection, [counts])
        out += [*letters, *map(seal, asked)]
    return out


def _forget(connection: Connection, lost: Erased, touched: Touched, policies: PolicyFile) -> int:
    """Look again at what lost a vote; how many examples are gone."""
    if not lost.examples:
        return 0
    before = examples.count(connection, lost.examples)
    known = heads.forget(connection, lost.examples)
    touched.classes |= known.classes
    touched.models |= {model for model, _ in known.classes}
    touched.examples |= lost.examples | caps.recount(connection, lost.days, policies)
    touched.examples |= voices.examples_of(connection, lost.days)
    touched.examples |= accounts.younger(connection, lost.days, policies)
    touched.doubtful |= lost.labels
    return before - examples.count(connection, lost.examples)


def _register(connection: Connection, batch: Batch, touched: Touched, policies: PolicyFile) -> None:
    rebuild.mark(connection, batch.of(TrainingRequested))
    datasets.note_states(connection, batch.of(ModelStateChanged))
    requests = [event for event in batch.of(TrainingRequested) if event.card is not None]
    if requests:
        _add_models(connection, batch, requests, touched)
    decided = {event.subject: event.model for event in batch.of(ReviewDecided) if event.subject_kind == "anchor"}
    edited = anchors.settle(connection, touched.created | decided.keys(), policies)
    touched.created |= edited.examples
    touched.classes |= edited.classes
    touched.doubtful |= edited.labels
    touched.examples |= decided.keys()
    touched.models |= set(decided.values())  # an input that was evidence may be in the anchor now


def _add_models(connection: Connection, batch: Batch, requests: Sequence[TrainingRequested], touched: Touched) -> None:
    known = datasets.register(connection, requests, batch.datasets)
    touched.created |= known.examples
    touched.classes |= known.classes
    for model in {event.model for event in requests}:
        touched.models.add(model)  # an input that was evidence may be a seed now, and make room in the gate's window
        of_model = select(col(Example.id)).where(col(Example.model) == model)
        touched.examples |= set(connection.execute(of_model).scalars())
        touched.fresh |= {(model, label) for label in labels.mentioned(connection, model)}


def _join(connection: Connection, stored: facts.Stored, touched: Touched, policies: PolicyFile) -> None:
    joined = join.find(connection, stored)
    votes = [one for one in joined if one.target is not None]
    counted = caps.count(connection, votes, policies)
    known_since = accounts.first_votes(connection, accounts.asked(votes, policies))
    known = heads.hear(connection, [*joined, *draws.new(stored)])
    join.write(connection, stored.feedback, joined, counted.events, known.first)
    touched.newcomers, touched.votes, touched.counted = known.newcomers, votes, counted.events
    touched.classes |= known.classes
    touched.examples |= {one.answer.example_id for one in votes} | {vote.example_id for vote in counted.displaced}
    touched.examples |= known.newcomers.keys()
    touched.examples |= accounts.older(connection, votes, known_since, policies)
    touched.fresh |= {(one.answer.model, one.target) for one in votes if one.target is not None}


def _models_with_news(batch: Batch) -> set[str]:
    trained, changed = batch.of(CandidateTrained), batch.of(ModelStateChanged)
    return {event.model for event in trained} | {event.model for event in changed}


def _follow_versions(
    connection: Connection, batch: Batch, before: Mapping[str, frozenset[str]], touched: Touched
) -> None:
    new = lineage.add_versions(connection, batch.of(CandidateTrained))
    versions = {event.version for event in new}
    touched.fresh |= {(event.model, label) for event in new for label in event.labels}
    touched.examples |= _served_by(connection, versions)
    for model, line in lineage.lines(connection, _models_with_news(batch)).items():
        changed = line ^ before.get(model, frozenset()) | (line & versions)
        touched.lessons |= lineage.lessons_of(connection, changed)
    touched.lessons |= lineage.add_fixes(connection, batch.of(VerdictReached))
    crowned = {event.version for event in batch.of(ModelStateChanged) if event.alias == "champion"}
    touched.lessons |= lineage.fixes_of(connection, crowned)


def _served_by(connection: Connection, versions: Iterable[str]) -> set[str]:
    """Examples with votes on answers of versions that were unknown until now."""
    voted = select(col(FeedbackRow.example_id)).where(
        col(FeedbackRow.version).in_(sorted(versions)), col(FeedbackRow.example_id).is_not(None)
    )
    found = connection.execute(voted.distinct()).scalars() if versions else ()
    return {example for example in found if example is not None}


def _settle(connection: Connection, touched: Touched, policies: PolicyFile) -> None:
    """Judge what was touched, from what decides to what depends on it."""
    moved, models = heads.settle(connection, touched.classes, touched.newcomers.values(), policies)
    waiting = labels.settle(connection, touched.fresh, touched.doubtful, policies)
    alone = newcomers.add(connection, touched.newcomers, touched.votes, touched.counted, policies, touched.held)
    shifted = window.settle(connection, models | touched.models, policies)
    todo = (touched.examples - alone) | touched.created | moved | shifted | waiting
    by_reviewers = examples.settle(connection, todo, policies, touched.held)
    waiting = labels.settle(connection, set(), touched.doubtful | by_reviewers, policies)
    examples.settle(connection, waiting, policies, touched.held)
    learned_before = lineage.told_of(connection, touched.newcomers)
    lineage.mark(connection, touched.created | touched.lessons | learned_before)
