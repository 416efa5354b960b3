"""What has been decided, read back from the evaluator's own topics: champions, verdicts, spent tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.events import ModelStateChanged, VerdictReached
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.topics import MODELS, VERDICTS


@dataclass
class History:
    """Grows with `update`; SQL is not asked, since it may lag behind what this service itself decided."""

    champions: dict[str, ModelStateChanged] = field(default_factory=dict)
    verdicts: dict[str, VerdictReached] = field(default_factory=dict)
    tests: Counter[str] = field(default_factory=Counter)

    def update(self, records: Iterable[Any]) -> None:
        """Take in records of the verdicts and models topics."""
        for record in records:
            topic = VERDICTS if record.topic.endswith(VERDICTS.name) else MODELS
            try:
                event = unseal(record.value, record.headers, topic)
            except InvalidEventError:
                continue  # the recorder puts it to the dead letters
            if isinstance(event, VerdictReached):
                self._note(event)
            elif isinstance(event, ModelStateChanged) and event.alias == "champion":
                self.champions[event.model] = event

    def tested(self, champion: str) -> int:
        """How many candidates a champion met in a superiority test."""
        return self.tests[champion]

    def _note(self, verdict: VerdictReached) -> None:
        if verdict.candidate in self.verdicts:
            return  # the first verdict on a candidate is the verdict
        self.verdicts[verdict.candidate] = verdict
        if verdict.champion and verdict.alpha is not None:
            self.tests[verdict.champion] += 1
