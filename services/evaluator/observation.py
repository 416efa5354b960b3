"""From what users say to a verdict on a canary or a new champion: answers read, versions asked, tests fed.

A look costs one query for at most the answers of one trial, and a few new answers put to the versions: it does not grow
with the log. What a version said to an input is remembered until its trial or watch ends. Who is silent is read only
when without them a champion looks worse, and again after a tenth more answers: that query reads all that was served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import TypeVar

import structlog
from sqlalchemy import Engine

from schemas.events import ModelStateChanged, VerdictReached
from services.evaluator import trials
from services.evaluator.answers import Answer, Asked, read_answers, read_audits, read_silent
from services.evaluator.rows import Row
from services.evaluator.scoring import Scorer
from shared.errors import ArtifactError
from shared.policy import Policy
from shared.policy import Trial as Rules

STEP = {"classification": 256, "generation": 16}  # new answers put to versions in one look: a second or two each
SLACK = 2  # answers read for each that is heard: some were given before the canary's first
GROWTH = 1.1  # answers, of those at the last look at who is silent, before the next one

log = structlog.get_logger()
One = TypeVar("One", bound=Asked)
Pair = tuple[float, float]  # how right two versions are on an answer's input; on trial, whether they differ, twice


@dataclass
class Observer:
    """Reads what was said since a canary or a champion began to serve."""

    engine: Engine
    scorer: Scorer
    clock: Callable[[], datetime]
    _seen: dict[tuple[str, str, str], tuple[str, dict[str, Pair]]] = field(default_factory=dict)
    _over: set[tuple[str, trials.Source]] = field(default_factory=set)  # champions of whom no more is to be heard there
    _looked: dict[str, int] = field(default_factory=dict)  # champion's state → answers when who is silent was read

    def trial(self, canary: ModelStateChanged, champion: ModelStateChanged, rules: Rules) -> VerdictReached | None:
        """The verdict on a canary, as soon as there is one."""
        served = (champion.version, canary.version)
        most = rules.canary_answers * SLACK
        answers = read_answers(self.engine, canary.model, served, canary.occurred_at, most)
        if len(answers) >= rules.canary_answers and all(one.version != canary.version for one in answers):
            reason = f"Of {len(answers)} solicited answers none was on the canary's: it does not serve."
            return trials.untried(canary, reason, self.clock())
        seen = self._remembered(canary)
        if fresh := _fresh(canary, answers, seen):
            if not self._can_answer(champion):
                return None
            try:
                self.scorer.load(canary)
                seen.update(self._differences(champion, canary, fresh))
            except ArtifactError as error:
                return trials.untried(canary, str(error), self.clock())
        known = takewhile(lambda one: one.prediction in seen, answers)
        differ = {prediction: bool(pair[0]) for prediction, pair in seen.items()}
        return trials.end_of_trial(canary, trials.tried(canary, known, differ, rules), self.clock())

    def is_over(self, champion: ModelStateChanged, policy: Policy) -> bool:
        """Whether a champion has shown itself."""
        return all((champion.event_id, source) in self._over for source in trials.sources(policy.gate))

    def watch(self, champion: ModelStateChanged, before: ModelStateChanged, policy: Policy) -> VerdictReached | None:
        """The verdict on a champion that is worse than the one before, as soon as that is certain.

        Only answers tell that say what would have been right: what the one before would have said nobody saw.
        """
        ends = (self._watched(champion, before, source, policy.trial) for source in trials.sources(policy.gate))
        return next((end for end in ends if end is not None), None)

    def _watched(
        self, champion: ModelStateChanged, before: ModelStateChanged, source: trials.Source, rules: Rules
    ) -> VerdictReached | None:
        """The verdict by what one source says."""
        if (champion.event_id, source) in self._over:
            return None
        said = self._read(champion, source, rules.watch_answers)
        told = tuple(one for one in said if one.target is not None)
        seen = self._remembered(champion, source.said)
        if fresh := _fresh(champion, told, seen):
            if not (self._can_answer(champion) and self._can_answer(before)):
                return None
            seen.update(self._right(champion, before, fresh))
        known = tuple(takewhile(lambda one: one.prediction in seen, told))
        watch = trials.watched(known, seen, rules, source)
        if watch.worse and source is trials.ANSWERS:
            silent = self._silent(champion, before, len(known), rules.watch_answers)
            if silent is None:
                return None
            watch = trials.watched(known, seen, rules, source, silent)
        if len(said) >= rules.watch_answers and len(known) == len(told) and not watch.worse:
            self._over.add((champion.event_id, source))
        return trials.end_of_reign(champion, watch, [seen[one.prediction] for one in known], self.clock(), source)

    def _read(self, champion: ModelStateChanged, source: trials.Source, most: int) -> tuple[Answer, ...]:
        since = champion.occurred_at
        if source is trials.AUDITS:
            return read_audits(self.engine, champion.model, champion.version, since, most)
        return read_answers(self.engine, champion.model, (champion.version,), since, most)

    def _silent(
        self, champion: ModelStateChanged, before: ModelStateChanged, answers: int, most: int
    ) -> tuple[Asked, ...] | None:
        """Who was asked and is silent where the two say different things; None while that is not known.

        Nor is it told of as many as answers end a watch: with half of the users silent the answers prove nothing.
        """
        if answers < GROWTH * self._looked.get(champion.event_id, 0):
            return None
        asked = read_silent(self.engine, champion.model, champion.version, champion.occurred_at, most)
        seen = self._remembered(champion, "silence")
        if fresh := _fresh(champion, asked, seen):
            if not (self._can_answer(champion) and self._can_answer(before)):
                return None
            seen.update(self._differences(champion, before, fresh))
        if any(one.prediction not in seen for one in asked):
            return None  # the rest at the next look
        self._looked[champion.event_id] = answers
        return None if len(asked) >= most else tuple(one for one in asked if seen[one.prediction][0])

    def _remembered(self, state: ModelStateChanged, what: str = "trial") -> dict[str, Pair]:
        """What is known of the answers under a state; of the alias's state before nothing is kept."""
        place = state.model, state.alias, what
        if self._seen.get(place, ("", {}))[0] != state.event_id:
            self._seen[place] = state.event_id, {}
        return self._seen[place][1]

    def _can_answer(self, state: ModelStateChanged) -> bool:
        try:
            self.scorer.load(state)
        except ArtifactError as error:
            log.error("version_cannot_answer", model=state.model, version=state.version, reason=str(error))
            return False
        return True

    def _differences(
        self, champion: ModelStateChanged, canary: ModelStateChanged, answers: Sequence[Asked]
    ) -> dict[str, Pair]:
        """Whether the two say different things. Where outputs are text, no two are alike: nobody is asked."""
        if champion.task == "generation":
            return {one.prediction: (True, True) for one in answers}
        inputs = [one.input for one in answers]
        said = zip(
            answers, self.scorer.say(champion.version, inputs), self.scorer.say(canary.version, inputs), strict=True
        )
        return {one.prediction: (old != new, old != new) for one, old, new in said}

    def _right(
        self, champion: ModelStateChanged, before: ModelStateChanged, answers: Sequence[Answer]
    ) -> dict[str, Pair]:
        rows = [Row(one.prediction, one.input, one.target or "", one.user) for one in answers]
        pairs = zip(self.scorer.right(champion.version, rows), self.scorer.right(before.version, rows), strict=True)
        return {row.id: pair for row, pair in zip(rows, pairs, strict=True)}


def _fresh(state: ModelStateChanged, answers: Sequence[One], seen: Mapping[str, Pair]) -> list[One]:
    """The next answers of which nothing is known yet, as many as one look bears."""
    return [one for one in answers if one.prediction not in seen][: STEP[state.task]]
