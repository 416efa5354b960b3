"""When increments would have been asked for under other triggers: the recorded log once more through the same rules.

Events go through `Joiner` and `Analyst`, as they do live, at the time that they name. What cannot be known is how long
trainer and gate would have taken for a request that was never made: whoever retraces says so. Reigns are as recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.events import (
    CandidateTrained,
    Event,
    FeedbackReceived,
    ModelStateChanged,
    PredictionServed,
    ReviewDecided,
    TrainingRequested,
)
from services.aggregator.analyst import Analyst
from services.aggregator.facts import Crowned, Fact, Judged, Reviewed
from services.aggregator.join import Entry, Place
from services.aggregator.joiner import Joiner
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.tally import Tally
from services.aggregator.triggers import Loop
from shared.policy import PolicyFile

LIMIT = 1_000_000  # joined predictions that are kept; live, they are kept for a day


def requests(
    model: str, events: Iterable[Event], policies: PolicyFile, takes_s: float
) -> tuple[TrainingRequested, ...]:
    """What would have been asked for, when each request is answered after so many seconds; events in order of time."""
    retrace = Retrace(model, policies, takes_s)
    for event in events:
        retrace.take(event)
    return tuple(retrace.asked)


@dataclass
class Table:
    """A table that nothing writes behind: the shelf keeps all in memory."""

    data: dict[bytes, bytes] = field(default_factory=dict)

    def send_changelog(self, *_: Any, **__: Any) -> Any:
        """Never called, since nothing is written."""
        raise NotImplementedError


@dataclass
class Retrace:
    """One model's loop, played again."""

    model: str
    policies: PolicyFile
    takes_s: float
    asked: list[TrainingRequested] = field(default_factory=list)
    offset: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self._loops: Shelf[Loop] = Shelf(Table(), Loop)
        self._analyst = Analyst(
            self._loops, Tally(Shelf(Table(), Slice), self.policies, self._hear), self.policies, self._hear
        )
        self._joiner = Joiner(Shelf(Table(), Entry), LIMIT, self._tell, self.policies)

    def take(self, event: Event) -> None:
        """Go on to an event's moment, and take it in."""
        at = event.occurred_at.timestamp()
        for due in self._due(at):
            self._turn(due)
        self._read(event)
        self._turn(at)

    def _read(self, event: Event) -> None:
        self.offset += 1
        place = Place("log", 0, self.offset)
        self.now = max(self.now, event.occurred_at.timestamp())
        match event:
            case PredictionServed():
                self._joiner.on_prediction_served(event, place)
            case FeedbackReceived():
                self._joiner.on_feedback_received(event, place)
            case ReviewDecided():
                self._joiner.on_review_decided(event, place)
            case ModelStateChanged():
                self._joiner.on_model_state_changed(event, place)
            case CandidateTrained():
                self._analyst.on_candidate_trained(event, 0, self.now)

    def _due(self, until: float) -> Iterator[float]:
        """The moments before another one at which something happens by itself: an answer, or the clock."""
        while (loop := self._loops.get(self.model)) is not None:
            every = self.policies.of(self.model).trigger.every_seconds
            known = [loop.asked.at + self.takes_s] if loop.asked else [loop.clock + every, loop.wait_until]
            coming = [moment for moment in known if self.now < moment < until]
            if not coming:
                return
            yield min(coming)

    def _turn(self, at: float) -> None:
        self.now = max(self.now, at)
        loop = self._loops.get(self.model)
        if loop is not None and loop.asked is not None and self.now >= loop.asked.at + self.takes_s:
            self._loops.put(self.model, loop.model_copy(update={"asked": None}))
        self._analyst.look(self.now)
        self._analyst.announce()

    def _tell(self, fact: Fact) -> None:
        assert isinstance(fact, Judged | Reviewed | Crowned)
        self._analyst.on_fact(fact, 0, self.now)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TrainingRequested):
            self.asked.append(event)
