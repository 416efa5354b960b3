"""What has been decided, read back from the log: champions, verdicts, spent tests, and the candidates of now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.topics import CANDIDATES, MODELS, VERDICTS

TOPICS = (CANDIDATES, VERDICTS, MODELS)


@dataclass(frozen=True)
class Announced:
    """A candidate, and the partition of the candidates topic that it came in: whose it is to judge."""

    candidate: CandidateTrained
    partition: int


@dataclass
class History:
    """Grows with `update`; SQL is not asked, since it may lag behind what this service itself decided.

    `verdicts` has the last look at each candidate, `newest` the last candidate of each model: it has learned what those
    before it learned, so of the ones that wait it is the one to look at again.
    """

    champions: dict[str, ModelStateChanged] = field(default_factory=dict)
    verdicts: dict[str, VerdictReached] = field(default_factory=dict)
    newest: dict[str, Announced] = field(default_factory=dict)
    tests: Counter[str] = field(default_factory=Counter)

    def update(self, records: Iterable[Any]) -> None:
        """Take in records of the topics."""
        for record in records:
            topic = next(one for one in TOPICS if record.topic.endswith(one.name))
            try:
                event = unseal(record.value, record.headers, topic)
            except InvalidEventError:
                continue  # the recorder puts it to the dead letters
            if isinstance(event, VerdictReached):
                self._note(event)
            elif isinstance(event, ModelStateChanged) and event.alias == "champion":
                self.champions[event.model] = event
            elif isinstance(event, CandidateTrained):
                self.newest[event.model] = Announced(event, record.partition)

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
