"""Predictions and what was said of them, in either order: pure.

Both topics have the same key and partition count, so an entry lives where both records do. An entry remembers each
piece of feedback with its offset: the same offset again is a redelivery and causes the same fact again, the same
event id at another offset is a repeat by the sender and causes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pydantic import Field

from schemas.events import MAX_LABEL, Correction, FeedbackReceived, PredictionServed, Rating, Thumbs
from services.aggregator.facts import Judged, Judgement, Kept, Value
from shared.grading import meaning
from shared.text import short_hash

MAX_HEARD = 16  # feedback kept per prediction: people change their mind a few times, not more
DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Place:
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    @property
    def origin(self) -> str:
        """The source partition, as facts and marks name it."""
        return f"{self.topic}/{self.partition}"


class Served(Value):
    """What is kept of a prediction."""

    offset: int
    model: str
    app: str
    output: str
    solicited: bool
    audited: bool = False
    at: float
    tags: dict[str, str] = Field(default_factory=dict)


class Heard(Value):
    """What is kept of feedback: it named the right output, or only told right from wrong."""

    event_id: str
    offset: int
    parked: bool
    wrong: bool | None = None
    right: str | None = None


class Entry(Kept):
    """One prediction_id: its prediction, if it came, and its feedback, in the order of the log."""

    at: float
    served: Served | None = None
    heard: tuple[Heard, ...] = ()


def name_output(text: str) -> str:
    """What the output says, if a label could be that long; else its hash. Outputs that say the same have one name."""
    said = meaning(text)
    return said if len(said) <= MAX_LABEL else f"#{short_hash(said)}"


def join_prediction(
    entry: Entry | None, event: PredictionServed, place: Place, tags: Collection[str] = ()
) -> tuple[Entry, Judged | None]:
    """Keep a prediction and tell what feedback that came before it means. The first event of an id wins.

    `tags` are the names of those that the traffic is sliced by.
    """
    entry = entry or Entry(partition=place.partition, at=event.occurred_at.timestamp())
    if entry.served is None:
        served = Served(
            offset=place.offset,
            model=event.model,
            app=event.app,
            output=name_output(event.output),
            solicited=event.solicit,
            audited=event.audit is True,
            at=event.occurred_at.timestamp(),
            tags={name: event.tags[name] for name in tags if name in event.tags},
        )
        entry = entry.model_copy(update={"served": served})
    elif entry.served.offset != place.offset:
        return entry, None
    now = _judge(entry, (heard for heard in entry.heard if heard.parked))
    return entry, _judged(entry, None, now, place)


def join_feedback(entry: Entry | None, event: FeedbackReceived, place: Place) -> tuple[Entry | None, Judged | None]:
    """Keep feedback and tell what it changes, unless its prediction is still to come or it judges nothing."""
    known = next((heard for heard in entry.heard if heard.event_id == event.event_id), None) if entry else None
    if known and (known.offset != place.offset or known.parked):
        return entry, None
    if known is None:
        heard = _hear(event, place, parked=entry is None or entry.served is None)
        if heard is None or (entry and len(entry.heard) >= MAX_HEARD):
            return entry, None
        entry = entry or Entry(partition=place.partition, at=event.occurred_at.timestamp())
        entry = entry.model_copy(update={"heard": (*entry.heard, heard)})
        known = heard
    if entry is None or known.parked:
        return entry, None
    until = entry.heard.index(known)
    return entry, _judged(entry, _judge(entry, entry.heard[:until]), _judge(entry, entry.heard[: until + 1]), place)


def _hear(event: FeedbackReceived, place: Place, parked: bool) -> Heard | None:
    heard = Heard(event_id=event.event_id, offset=place.offset, parked=parked)
    match event.feedback:
        case Thumbs(value=value):
            return heard.model_copy(update={"wrong": value == "down"})
        case Rating(value=stars) if stars != 3:
            return heard.model_copy(update={"wrong": stars < 3})
        case Correction(value=right):
            return heard.model_copy(update={"right": name_output(right)})
    return None


def _judge(entry: Entry, all_heard: Iterable[Heard]) -> Judgement | None:
    """What the feedback says together: the last word counts, but a bare «wrong» keeps a target already named."""
    known: Judgement | None = None
    for heard in all_heard:
        output = entry.served.output if entry.served else None
        if heard.right is not None:
            known = Judgement(wrong=heard.right != output, right=heard.right)
        elif not heard.wrong:
            known = Judgement(wrong=False, right=output)
        elif known is None or not known.wrong:
            known = Judgement(wrong=True)
    return known


def _judged(entry: Entry, was: Judgement | None, now: Judgement | None, place: Place) -> Judged | None:
    if entry.served is None or now is None or now == was:
        return None
    served = entry.served
    return Judged(
        model=served.model,
        origin=place.origin,
        offset=place.offset,
        app=served.app,
        served=served.output,
        solicited=served.solicited,
        audited=served.audited,
        at=served.at,
        tags=served.tags,
        was=was,
        now=now,
    )


@dataclass
class Expiry:
    """The keys of one partition by age, so that what is too old or too many can go, a few at each step."""

    limit: int
    keep_s: float = DAY_S
    _times: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _newest: float = 0.0

    def add(self, key: str, at: float) -> list[str]:
        """Note a key and name those (two at most) that should go; time is that of the events, as in a replay."""
        self._times.setdefault(key, at)
        self._newest = max(self._newest, at)
        gone: list[str] = []
        while len(gone) < 2 and self._is_over():
            gone.append(self._times.popitem(last=False)[0])
        return gone

    def _is_over(self) -> bool:
        oldest = next(iter(self._times.values()))
        return len(self._times) > self.limit or (len(self._times) > 1 and oldest < self._newest - self.keep_s)
