"""Who moves a model's aliases: people first, then the gate's promotions, a canary's trial and a champion's watch.

Nothing is kept but what can be made again: decisions are read back from the log (`history`), answers from SQL. A step
publishes one thing after the other, and the next turn goes on from what the log then says; so a crash between any two
of them is made good by the turn after it, and what is repeated has the same ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import structlog
from sqlalchemy import Engine

from schemas.events import CandidateTrained, Event, ModelStateChanged, ReviewDecided, VerdictReached
from services.evaluator import people, states, trials
from services.evaluator.history import History
from services.evaluator.observation import Observer
from services.evaluator.scoring import Scorer
from services.evaluator.versions import find_version, was_champion
from shared.crash import crash_point
from shared.errors import ArtifactError
from shared.kafka import Publisher
from shared.observe import EVENTS_OUT
from shared.policy import PolicyFile

RECORDED = timedelta(seconds=10)  # the recorder is given so long to know of a version before it counts as unknown
LOOP = ("gate", "canary")  # whose promotions the watch looks after; what a person decided, a person takes back

log = structlog.get_logger()


def now() -> datetime:
    """The evaluator's clock."""
    return datetime.now(UTC)


@dataclass
class Steward:
    """What it takes to look after the aliases; the fields are the test seams."""

    publisher: Publisher
    history: History
    engine: Engine
    scorer: Scorer
    policies: PolicyFile
    clock: Callable[[], datetime] = now

    @cached_property
    def observer(self) -> Observer:
        """Who reads what users say of versions."""
        return Observer(self.engine, self.scorer, self.clock)

    def promote(self, candidate: CandidateTrained, verdict: VerdictReached) -> None:
        """Do what the gate's verdict says: on trial, if the policy wants one, else champion at once; or wait.

        It waits while a person holds the model and while another version is on trial.
        """
        model, rules = candidate.model, self.policies.of(candidate.model).trial
        if self.history.hold(model) or self.history.canary(model):
            return
        on_trial = states.on_trial(candidate, verdict, rules.canary, self.clock())
        if trials.verdict_id(on_trial) in self.history.ended:
            return  # its trial has ended: see `tend`
        if rules.canary > 0 and verdict.champion is not None:
            self._publish(on_trial)
            crash_point("evaluator.after_canary")
        else:
            self._publish(states.crowned(candidate, verdict, self.clock()))
            crash_point("evaluator.after_promotion")

    def tend(self, model: str) -> None:
        """Take the next step that is due for a model, if any."""
        champion, canary = self.history.champions.get(model), self.history.canary(model)
        step = people.next_step(
            tuple(self.history.reviews[model].values()),
            self.history.answers,
            self.clock(),
            self.policies.of(model).people,
        )
        if step is not None:
            self._decide(step, champion)
        elif canary is not None and (champion is None or champion.version != canary.previous):
            reason = "Its trial is over: the champion that it was tried against serves no more."
            self._publish(states.trial_over(canary, champion or canary, reason, self.clock()))
        elif champion is not None:
            held = self.history.hold(model) is not None
            ended = canary is not None and self._try(canary, champion, held)
            if not held and not ended:
                self._watch(champion)

    def _try(self, canary: ModelStateChanged, champion: ModelStateChanged, held: bool) -> bool:
        """End a trial that has decided; returns whether it did. A hold keeps a canary from winning, not from losing."""
        verdict = self.history.ended.get(trials.verdict_id(canary))
        if verdict is None:
            verdict = self.observer.trial(canary, champion, self.policies.of(canary.model).trial)
            if verdict is None:
                return False
            self._publish(verdict)
            crash_point("evaluator.after_trial")
        if verdict.outcome == "promote" and held:
            return False
        if verdict.outcome == "promote":
            self._publish(states.after_trial(canary, verdict, self.clock()))
            crash_point("evaluator.after_trial_won")
        self._publish(states.trial_over(canary, verdict, verdict.reason, self.clock()))
        return True

    def _watch(self, champion: ModelStateChanged) -> None:
        """Roll back a champion that is worse than the one before it."""
        policy = self.policies.of(champion.model)
        if champion.previous is None or champion.decided_by not in LOOP or policy.trial.watch_answers == 0:
            return
        if self.observer.is_over(champion, policy):
            return
        before = find_version(self.engine, champion.model, champion.previous, self.clock())
        if before is None:
            return
        verdict = self.history.ended.get(trials.verdict_id(champion))
        if verdict is None:
            verdict = self.observer.watch(champion, before, policy)
            if verdict is None:
                return
            self._publish(verdict)
            crash_point("evaluator.after_watch")
        self._publish(states.rolled_back(champion, before, verdict, self.clock()))

    def _decide(self, step: people.Next, champion: ModelStateChanged | None) -> None:
        """Answer a reviewer's decision, after it was carried out."""
        end = self._carried_out(step, champion) if step.kind == "due" else (step.kind, step.reason)
        if end is None:
            return  # it is too early to tell
        outcome, reason = end
        both = [step.agreed] if step.agreed is not None and outcome == "done" else []
        for review in (*both, step.review):
            self._publish(people.answered(review, outcome, reason, self.clock()))

    def _carried_out(self, step: people.Next, champion: ModelStateChanged | None) -> people.End | None:
        """What came of a decision that is due; None while the recorder may not know the version yet."""
        review = step.review
        done_before = champion is not None and champion.decision == review.event_id  # and then it crashed
        if review.decision in people.MOVES and not done_before:
            version = find_version(self.engine, review.model, review.subject, self.clock())
            if version is None and self.clock() - review.occurred_at < RECORDED:
                return None
            if version is None:
                return "refused", f"{review.model} has no version {review.subject}."
            if refusal := self._refusal(review, version, champion):
                return "refused", refusal
            serves = champion.version if champion else None
            self._publish(states.by_person(version, serves, review, self.clock()))
            crash_point("evaluator.after_decision")
        return "done", _done(review, step.agreed)

    def _refusal(
        self, review: ReviewDecided, version: ModelStateChanged, champion: ModelStateChanged | None
    ) -> str | None:
        """Why a version cannot serve, if so."""
        if champion is not None and champion.version == version.version:
            return f"{review.subject} is the champion already."
        if review.decision == "rollback" and not was_champion(self.engine, review.model, review.subject):
            return f"{review.subject} has never been champion: promote it, if it shall be."
        try:
            self.scorer.load(version)
        except ArtifactError as error:
            return str(error)
        return None

    def _publish(self, event: Event) -> None:
        self.publisher.publish(event)
        EVENTS_OUT.labels("evaluator", type(event).__name__).inc()
        if isinstance(event, ModelStateChanged):
            log.info(
                "alias_moved", model=event.model, alias=event.alias, version=event.version, decided_by=event.decided_by
            )


def _done(review: ReviewDecided, agreed: ReviewDecided | None) -> str:
    said = {
        "promote": f"{review.subject} is champion.",
        "rollback": f"{review.subject} is champion again.",
        "hold": "The loop leaves the champion as it is until somebody releases it.",
        "release": "The loop may replace the champion again.",
    }[review.decision]
    return f"{said} {agreed.reviewer} and {review.reviewer} agree." if agreed else said
