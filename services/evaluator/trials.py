"""What a canary's trial and a new champion's watch come to: the sequential tests fed with answers, and their verdicts.

A canary's trial hears those who answered: who was asked and stays silent counts for nobody there, and its verdict says
so. A watch follows `gate.silence`: `against` it, a silent user speaks for the champion that serves (decision 0038).

A verdict is made once and its id follows from the state that it ends, so that whatever is repeated after a crash is the
same event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.events import Check, ModelStateChanged, VerdictReached
from services.evaluator.answers import Answer, Asked
from services.evaluator.sequential import Arm, Trial, Watch
from services.evaluator.statistics import accuracy
from shared.policy import Gate
from shared.policy import Trial as Rules
from shared.text import short_hash

CANARY, WATCH = "canary", "watch"  # who decides
UNHEARD = "Users who were asked and did not answer are not counted."
ALPHA = 0.05  # of a watch: chance that a champion as good as the one before is rolled back in its reign


@dataclass(frozen=True)
class Source:
    """What a watch hears: what its verdict calls that, what it says of who is silent, and its part of ALPHA."""

    said: str
    silence: str
    alpha: float


FAIR = Source("solicited answers", UNHEARD, ALPHA)
ANSWERS = Source("solicited answers", "{silent} users who did not answer where the two differ speak for it.", ALPHA / 2)
AUDITS = Source("audits", "Reviewers label them blind, whoever answers.", ALPHA / 2)


def sources(rules: Gate) -> tuple[Source, ...]:
    """What a watch hears, each by itself; the chance that any of them is wrong is at most the sum of their parts."""
    return (FAIR,) if rules.silence == "fair" else (ANSWERS, AUDITS)


def verdict_id(state: ModelStateChanged) -> str:
    """The id of the verdict that ends a canary's trial or a champion's watch."""
    return short_hash("ended", state.event_id)


def tried(canary: ModelStateChanged, answers: Iterable[Answer], differ: Mapping[str, bool], rules: Rules) -> Trial:
    """The trial so far. `differ` says of each prediction whether the two versions say different things there.

    It begins after the canary's first answer: until then a predictor may not have heard of it, and the draw would not
    be what the test takes it to be.
    """
    trial, begun = Trial(canary.share, answers=rules.canary_answers), False
    start = canary.occurred_at
    for answer in answers:
        on_trial = answer.version == canary.version
        if begun and answer.at > start:
            trial.hear(on_trial, answer.right, answer.user, differ[answer.prediction])
        elif on_trial and not begun:
            begun, start = True, answer.at
    return trial


def end_of_trial(canary: ModelStateChanged, trial: Trial, at: datetime) -> VerdictReached | None:
    """The verdict on a canary, as soon as its trial has decided."""
    if trial.decision is None:
        return None
    return _ended(
        canary,
        CANARY,
        "promote" if trial.decision == "promote" else "reject",
        f"{_why(trial)} After {trial.heard} solicited answers, where the two differ:"
        f" {_told('canary', trial.canary_apart)}, {_told('champion', trial.champion_apart)}. {UNHEARD}",
        at,
        (
            _check("worse", trial.e_worse, 1 / trial.alpha_stop, trial.heard, trial.e_worse < 1 / trial.alpha_stop),
            _check("better", trial.e_better, 1 / trial.alpha, trial.heard, trial.decision == "promote"),
        ),
        trial.champion.accuracy,
        trial.canary.accuracy,
        trial.heard,
    )


def untried(canary: ModelStateChanged, reason: str, at: datetime) -> VerdictReached:
    """The verdict on a canary that did not answer, or cannot."""
    return _ended(
        canary,
        CANARY,
        "reject",
        reason,
        at,
        (Check(name="integrity", passed=False, reason=reason[:500]),),
        None,
        None,
        0,
    )


def watched(
    answers: Sequence[Answer],
    right: Mapping[str, tuple[float, float]],
    rules: Rules,
    source: Source = FAIR,
    silent: Sequence[Asked] = (),
) -> Watch:
    """The watch so far; `right` says of each prediction how right the new champion is there, and the one before.

    `silent` are those who did not answer where the two say different things. Then all are taken in the order in which
    they were asked, so that which row of a user counts does not depend on who answered.
    """
    watch = Watch(source.alpha, rules.watch_answers)
    for one in sorted((*answers, *silent), key=lambda one: (one.at, one.prediction)) if silent else answers:
        if isinstance(one, Answer):
            watch.hear(*right[one.prediction], one.user)
        else:
            watch.miss(one.user)
    return watch


def end_of_reign(
    champion: ModelStateChanged,
    watch: Watch,
    right: Sequence[tuple[float, float]],
    at: datetime,
    source: Source = FAIR,
) -> VerdictReached | None:
    """The verdict on a new champion that is worse than the one before; `right` and `source` as of `watched`."""
    if not watch.worse:
        return None
    reason = (
        f"Worse than its predecessor on the {watch.heard} {source.said} since it serves: {watch.gains} users were"
        f" served better, {watch.losses} worse (e = {watch.e_worse:.1f}, enough is {1 / watch.alpha:.0f})."
        f" {source.silence.format(silent=watch.silent)}"
    )
    check = _check("worse", watch.e_worse, 1 / watch.alpha, watch.heard, passed=False)
    old, new = accuracy([pair[1] for pair in right]), accuracy([pair[0] for pair in right])
    return _ended(champion, WATCH, "reject", reason, at, (check,), old, new, watch.heard)


def _why(trial: Trial) -> str:
    if trial.e_worse >= 1 / trial.alpha_stop:
        return f"Worse than the champion for its users (e = {trial.e_worse:.1f}, enough is {1 / trial.alpha_stop:.0f})."
    if trial.e_better >= 1 / trial.alpha:
        return f"Better than the champion for its users (e = {trial.e_better:.1f}, enough is {1 / trial.alpha:.0f})."
    ahead = "not behind" if trial.decision == "promote" else "behind"
    return f"Neither better nor worse for certain in all of the trial, and {ahead} at its end."


def _told(who: str, arm: Arm) -> str:
    return f"the {who} was right {arm.right} times of {arm.n}"


def _check(name: str, value: float, threshold: float, n: int, passed: bool) -> Check:
    reason = (
        f"Evidence that it is {name} for its users: e = {value:.2f}, enough is {threshold:.0f}: so much comes by chance"
        f" once in {threshold:.0f} times at most, however often one looks."
    )
    return Check(name=name, passed=passed, value=value, threshold=threshold, n=n, reason=reason)


def _ended(
    state: ModelStateChanged,
    decided_by: str,
    outcome: Literal["promote", "reject"],
    reason: str,
    at: datetime,
    checks: tuple[Check, ...],
    champion_accuracy: float | None,
    candidate_accuracy: float | None,
    evidence: int,
) -> VerdictReached:
    return VerdictReached(
        event_id=verdict_id(state),
        occurred_at=at,
        source="evaluator",
        model=state.model,
        candidate=state.version,
        champion=state.previous,
        outcome=outcome,
        reason=reason,
        checks=checks,
        champion_accuracy=champion_accuracy,
        candidate_accuracy=candidate_accuracy,
        evidence=evidence,
        decided_by=decided_by,
    )
