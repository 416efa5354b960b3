"""What has been decided, read back from the log: model states, verdicts, people's decisions, and candidates of now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.events import CandidateTrained, DecisionAnswered, ModelStateChanged, ReviewDecided, VerdictReached
from services.evaluator import people
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.topics import CANDIDATES, MODELS, REVIEWS, VERDICTS

TOPICS = (CANDIDATES, VERDICTS, MODELS, REVIEWS)


@dataclass(frozen=True)
class Announced:
    """A candidate, and the partition of the candidates topic that it came in: whose it is to judge."""

    candidate: CandidateTrained
    partition: int


@dataclass
class History:
    """Grows with `update`; SQL is not asked, since it may lag behind what this service itself decided.

    `verdicts` has the last look at each candidate, `newest` the last candidate of each model: it has learned what those
    before it learned, so of the ones that wait it is the one to look at again. `ended` has the verdicts that ended a
    trial or a reign, by their ids; `reviews` what people decided on versions, `answers` what became of it.
    """

    champions: dict[str, ModelStateChanged] = field(default_factory=dict)
    verdicts: dict[str, VerdictReached] = field(default_factory=dict)
    newest: dict[str, Announced] = field(default_factory=dict)
    tests: Counter[str] = field(default_factory=Counter)
    canaries: dict[str, ModelStateChanged] = field(default_factory=dict)
    ended: dict[str, VerdictReached] = field(default_factory=dict)
    reviews: defaultdict[str, dict[str, ReviewDecided]] = field(default_factory=lambda: defaultdict(dict))
    answers: dict[str, DecisionAnswered] = field(default_factory=dict)

    def update(self, records: Iterable[Any]) -> None:
        """Take in records of the topics."""
        for record in records:
            topic = next(one for one in TOPICS if record.topic.endswith(one.name))
            try:
                event = unseal(record.value, record.headers, topic)
            except InvalidEventError:
                continue  # the recorder puts it to the dead letters
            match event:
                case VerdictReached(decided_by="gate"):
                    self._note(event)
                case VerdictReached():
                    self.ended.setdefault(event.event_id, event)
                case ModelStateChanged(alias="champion"):
                    self.champions[event.model] = event
                case ModelStateChanged():
                    self.canaries[event.model] = event
                case CandidateTrained():
                    self.newest[event.model] = Announced(event, record.partition)
                case ReviewDecided(subject_kind="version"):
                    self.reviews[event.model].setdefault(event.event_id, event)
                case DecisionAnswered():
                    self.answers[event.review] = event

    def canary(self, model: str) -> ModelStateChanged | None:
        """The version that is on trial now."""
        canary = self.canaries.get(model)
        return canary if canary is not None and canary.share > 0 else None

    def hold(self, model: str) -> ReviewDecided | None:
        """The decision that keeps the loop from moving the model's alias, if any."""
        return people.is_held(tuple(self.reviews[model].values()), self.answers)

    def tested(self, champion: str) -> int:
        """How many superiority tests a champion met."""
        return self.tests[champion]

    def _note(self, verdict: VerdictReached) -> None:
        known = self.verdicts.get(verdict.candidate)
        if known is not None and verdict.look <= known.look:
            return  # the first word on a look is the word on it
        self.verdicts[verdict.candidate] = verdict
        if verdict.champion and verdict.alpha is not None:
            self.tests[verdict.champion] += 1
