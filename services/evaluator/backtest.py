"""The record judged again under another policy: what would have been promoted, when, and how well it would have served.

Each recorded candidate is put before the gate at the moment when it was, on the evidence of that moment, and again as
evidence grew, as `retest` says. Versions are loaded from the artifact store and answer the recorded rows, so nothing is
guessed of who was right. Three things cannot be replayed, and are told or left out:

- Once another champion serves than on record, the trainer would have made other candidates. The recorded ones stand in
  for them, and are marked.
- What a person or the watch decided holds, where it moves the alias from the version that serves in the replay too.
- A canary's trial needs users who were served by it: what the gate promotes is champion at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine

from schemas.events import ModelStateChanged, VerdictReached
from services.evaluator import gate, retest
from services.evaluator.examiner import Examiner
from services.evaluator.past import Past, Recorded, Reign, glance
from services.evaluator.scoring import Scorer
from services.evaluator.statistics import accuracy
from shared.errors import ArtifactError
from shared.policy import Gate, PolicyFile

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Judged:
    """What became of a recorded candidate under the policy; `stands_in`: it was made from another champion."""

    candidate: Recorded
    verdict: VerdictReached | None
    at: datetime
    stands_in: bool = False


@dataclass
class Replay:
    """One model under a policy: who serves so far, and what was decided."""

    engine: Engine
    past: Past
    scorer: Scorer
    policies: PolicyFile
    champion: ModelStateChanged | None = None
    tests: Counter[str] = field(default_factory=Counter)  # by champion, over all its reigns
    judged: list[Judged] = field(default_factory=list)
    reigns: list[Reign] = field(default_factory=list)

    @property
    def rules(self) -> Gate:
        """The gate under which the record is judged."""
        return self.policies.of(self.past.model).gate

    def run(self, tell: Tell) -> None:
        """Go through the record once; `tell` hears of each candidate."""
        candidates = self.past.candidates
        for number, one in enumerate(candidates):
            tell(number, len(candidates), one.name)
            until = candidates[number + 1].at if number + 1 < len(candidates) else None
            self._follow_people(one.at)
            self._meet(one, until)
        self._follow_people(None)

    def _follow_people(self, until: datetime | None) -> None:
        """Take over what others than the gate decided since, where it starts from who serves here."""
        begin = self.reigns[-1].since if self.reigns else None
        for move in self.past.reigns:
            is_new = (begin is None or move.since > begin) and (until is None or move.since <= until)
            serves = self.champion.version if self.champion else None
            if is_new and move.by_hand and move.previous == serves:
                self._crown(move.version, move.since, by_hand=True)

    def _meet(self, one: Recorded, until: datetime | None) -> None:
        if self.champion is None:
            self._begin(one)
            return
        verdict, at, stands_in = self._look(one, one.at, 1), one.at, self._is_stranger(one)
        while (then := self._next_look(one, verdict, at, until)) is not None:
            verdict, at = self._look(one, then, verdict.look + 1), then
        self.judged.append(Judged(one, verdict, at, stands_in))
        if verdict.outcome == "promote":
            self._crown(one.made.version, at)

    def _begin(self, one: Recorded) -> None:
        """The first version that a person's request made champion; one that never served changes nothing."""
        served = [reign for reign in self.past.reigns if reign.version == one.made.version]
        self.judged.append(Judged(one, None, one.at))
        if served:
            self._crown(one.made.version, served[0].since, served[0].by_hand)

    def _look(self, one: Recorded, at: datetime, look: int) -> VerdictReached:
        assert self.champion, "somebody serves"
        made = one.made.model_copy(update={"parent": self.champion.version}) if self._is_stranger(one) else one.made
        examiner = Examiner(self.engine, self.scorer, self.policies, glance(self.past, at, self._learned(one)))
        verdict = examiner.examine(made, self.champion, self.tests[self.champion.version], look)
        self.tests[self.champion.version] += verdict.alpha is not None
        return verdict

    def _learned(self, one: Recorded) -> frozenset[str]:
        assert self.champion, "somebody serves"
        return self.past.learned[one.made.version] | self.past.learned[self.champion.version]

    def _is_stranger(self, one: Recorded) -> bool:
        """Whether a candidate of the champion on record meets another one here."""
        recorded = [reign.version for reign in self.past.reigns if reign.since <= one.at]
        serves = self.champion.version if self.champion else None
        return bool(recorded) and one.made.parent == recorded[-1] != serves

    def _next_look(
        self, one: Recorded, verdict: VerdictReached, at: datetime, until: datetime | None
    ) -> datetime | None:
        """When evidence has grown enough to look again, before the next candidate comes."""
        assert self.champion, "somebody serves"
        made = one.made.model_copy(update={"parent": verdict.champion}) if self._is_stranger(one) else one.made
        if not retest.waits(made, verdict, self.champion, self.tests[self.champion.version], self.rules):
            return None
        wanted = retest.next_look(verdict.evidence, self.rules)
        since, learned = gate.since(self.champion, self.rules), self._learned(one)
        then = None if wanted is None else self.past.when(wanted, at, self.rules.window, since, learned)
        return None if then is None or (until is not None and then >= until) else then

    def _crown(self, version: str, since: datetime, by_hand: bool = False) -> None:
        previous = self.champion.version if self.champion else None
        self.champion = self.past.state(version, since, previous)
        self.reigns.append(Reign(version, since, previous, by_hand))


@dataclass(frozen=True)
class Served:
    """How a champion did on the solicited rows that came while it served; None where its files cannot be read."""

    reign: Reign
    answers: int
    accuracy: float | None


def served(past: Past, reigns: Sequence[Reign], scorer: Scorer) -> tuple[Served, ...]:
    """The champions' accuracy on rows that came after each was chosen, so that no choice can have looked at them."""
    ends = [reign.since for reign in reigns[1:]]
    return tuple(_served(past, reign, end, scorer) for reign, end in zip(reigns, (*ends, None), strict=False))


def _served(past: Past, reign: Reign, end: datetime | None, scorer: Scorer) -> Served:
    rows = past.between(reign.since, end)
    try:
        scorer.load(past.state(reign.version, reign.since, reign.previous))
        scorer.keep(reign.version)
        return Served(reign, len(rows), accuracy(scorer.right(reign.version, rows)))
    except ArtifactError:
        return Served(reign, len(rows), None)
