"""The gate: what a candidate must show, and the verdict that follows, with every figure and reason.

Superiority is tested only on what chance drew, solicited answers and audits: who volunteers feedback is selected by the
champion's mistakes, so that on volunteered rows any different model seems to win, and so may be who answers when asked
(see `silence`). The modes, and what each guarantees of equally good candidates:

- `strict`: evidence is what was first spoken of since the champion was promoted, and each of at most `tries` tests of
  its reign has the level α / tries. P(any false promotion in the reign) ≤ α by the union bound, whatever binds the
  candidates to each other: neither training nor the champion's own promotion has seen a row of it.
- `balanced`: the same levels on the newest `window` rows, whoever served. The champion may have been chosen on some of
  them, which makes it look better there than it is (the winner's curse) and so its challengers' tests conservative:
  simulated (bench gate), not proved.
- `fast`: each candidate is tested once, at α, on the same rows as `balanced`. P(false promotion) ≤ α for a candidate;
  over a sequence it grows without bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.events import Check, ModelStateChanged
from services.evaluator.ground import Ground, Silence, ground
from services.evaluator.statistics import Paired, non_inferiority, p_better
from services.evaluator.wanting import Wanted, wanting
from shared.policy import Gate

REBUILDER = "erasure"  # who asks for an increment that forgets a user
REFRESH = "refresh"  # the trigger of a candidate that was trained anew, on what its line has learned
HARM_LEVEL = 0.05  # a candidate that loses at this level is rejected, not merely left waiting

Outcome = Literal["promote", "reject", "inconclusive"]


@dataclass(frozen=True)
class Judgement:
    """An outcome, why, and what was looked at. `alpha` is None when no superiority test was made."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...]
    alpha: float | None = None
    labels_to_decide: int | None = None


def judge(
    evidence: Paired,
    anchor: Paired,
    lineage: Check,
    tested: int,
    rules: Gate,
    further: Sequence[Check] = (),
    silence: Silence = Silence(),
) -> Judgement:
    """Judge a candidate whose files are sound. A check of `further` that fails rejects it.

    `tested` is how many superiority tests this champion has met, second looks at a candidate included.
    """
    checks: tuple[Check, ...] = (lineage, _anchor(anchor, rules.delta), _harm(evidence), *further)
    for check in checks:
        if not check.passed:
            return Judgement("inconclusive" if check is lineage else "reject", check.reason, checks)
    if is_spent(tested, rules):
        reason = f"All {rules.tries} tests of this champion's reign are spent; a person must decide."
        return Judgement("inconclusive", reason, checks)
    alpha = level(rules)
    base = ground(evidence, silence, rules)
    wanted = _wanting(evidence, silence, base, alpha, rules)
    if base.smallest > alpha:
        seen = sum(base.rows.by_user())
        reason = f"Too little evidence: {base.said}; {seen} users saw a difference. {wanted.said}"
        return Judgement("inconclusive", reason, checks, labels_to_decide=wanted.rows)
    superior = _superior(base, alpha)
    checks = (*checks, superior)
    if superior.passed:
        return Judgement("promote", superior.reason, checks, alpha)
    return Judgement("inconclusive", f"{superior.reason} {wanted.said}", checks, alpha, wanted.rows)


def level(rules: Gate) -> float:
    """The level of one superiority test."""
    return rules.alpha if rules.mode == "fast" else rules.alpha / rules.tries


def is_spent(tested: int, rules: Gate) -> bool:
    """Whether a reign that has seen so many tests has none left."""
    return rules.mode != "fast" and tested >= rules.tries


def alpha_left(tested: int, rules: Gate) -> float | None:
    """What is left to spend after so many tests; None where there is no budget."""
    return None if rules.mode == "fast" else max(0.0, rules.alpha * (1 - tested / rules.tries))


def since(champion: ModelStateChanged | None, rules: Gate) -> datetime | None:
    """What was first spoken of up to then is no evidence; None: all of the window is."""
    return champion.occurred_at if champion is not None and rules.mode == "strict" else None


def unsound(reason: str, outcome: Outcome = "reject") -> Judgement:
    """The verdict when files cannot be trusted: the candidate's, or, inconclusive, those of the champion it asks."""
    return Judgement(outcome, reason, (Check(name="integrity", passed=False, reason=reason),))


def first(requested_by: str) -> Judgement:
    """The verdict on a model's first version: there is no champion to beat, a person asked for it."""
    reason = f"First version of the model, made champion by the decision of {requested_by}."
    return Judgement(
        "promote", reason, (Check(name="integrity", passed=True, reason="Digests match, weights finite."),)
    )


def parentage(parent: str | None, champion: str, requested_by: str = "", trigger: str = "") -> Check:
    """Whether the candidate was made from the version that serves, or stands in for it since a user was erased."""
    if requested_by == REBUILDER and parent != champion:
        return Check(name="lineage", passed=True, reason="Rebuilt from the last version that held no erased user.")
    same = parent == champion
    made = "Trained anew from the base, to replace the champion." if trigger == REFRESH else "Made from the champion."
    stale = "Its parent is no longer champion. The next increment starts from the champion and learns its lessons anew."
    reason = made if same else stale
    return Check(name="lineage", passed=same, reason=reason)


def _anchor(anchor: Paired, delta: float) -> Check:
    if anchor.n == 0:
        return Check(name="anchor", passed=True, reason="The model has no golden anchor; nothing guards old knowledge.")
    margin = non_inferiority(*anchor.masses(), anchor.n, delta)
    widened = " (widened: the anchor is small)" if margin.delta > delta else ""
    reason = (
        f"On the golden anchor {'not inferior' if margin.holds else 'inferior'}: {margin.difference:+.1%} over"
        f" {anchor.n} rows, at worst {margin.lower:+.1%}, allowed −{margin.delta:.1%}{widened}."
    )
    return Check(
        name="anchor", passed=margin.holds, value=margin.lower, threshold=-margin.delta, n=anchor.n, reason=reason
    )


def _harm(evidence: Paired) -> Check:
    p = p_better(evidence.swapped())
    worse_enough = p <= HARM_LEVEL
    reason = (
        f"{'Worse' if worse_enough else 'Not shown to be worse'} than the champion on {evidence.n} solicited answers:"
        f" {evidence.gains} gained, {evidence.losses} lost (p = {p:.4f})."
    )
    return Check(name="harm", passed=not worse_enough, value=p, threshold=HARM_LEVEL, n=evidence.n, reason=reason)


def _wanting(evidence: Paired, silence: Silence, base: Ground, alpha: float, rules: Gate) -> Wanted:
    """What would decide: more answers; where users are silent, reviewers' labels, or audits if it is too much."""
    usual = wanting(evidence, alpha, rules.power)
    if not base.silent:
        return usual
    if silence.unbounded:
        audits = wanting(evidence, alpha, rules.power, have=len(silence.audited))
        return Wanted(audits.rows, f"So many users are silent that audits decide. {audits.said}")
    many = len(silence.users)
    said = (
        f"Users who were asked are silent on {many} inputs on which the two differ: a reviewer's labels count instead."
    )
    return Wanted(many + (usual.rows or 0), f"{said} {usual.said}")


def _superior(base: Ground, alpha: float) -> Check:
    better, worse = base.rows.by_user()
    p = p_better(base.rows)
    reason = (
        f"{'Better' if p <= alpha else 'Not shown to be better'} than the champion on {base.said}:"
        f" {base.rows.gains} gained, {base.rows.losses} lost; {better} users for it, {worse} against"
        f" (p = {p:.5f}, allowed {alpha:.5f})."
    )
    return Check(name="superiority", passed=p <= alpha, value=p, threshold=alpha, n=base.rows.n, reason=reason)
