"""What follows from users who were asked and did not answer: which rows the superiority test is made on.

Who answers may hang on who was right: of equal versions the candidate then wins where the champion's errors are told
more often than its successes. Two tests hold their level whoever is silent, and why:

- On all that was asked for, with each input on which the versions differ and nobody has answered counted against the
  candidate. Whatever the answers would have been, they could only lower this p (the worst case of Manski's bounds). A
  reviewer who labels such an input, blind, answers in the user's place.
- On audits alone: what chance drew for reviewers, who know neither version's answer and pass over nothing.

Of the two the one is made that could reject at the lower level, which depends on how many inputs the versions differ
on, and not on which way. Where everybody has answered both are the test on all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.statistics import Paired, p_least, p_smallest
from shared.policy import Gate


@dataclass(frozen=True)
class Silence:
    """Beside the evidence: the users who are silent where the versions differ, and which rows of it are audits.

    `unbounded`: there are more silent inputs than were looked at.
    """

    users: tuple[str | None, ...] = ()
    audited: tuple[int, ...] = ()
    unbounded: bool = False


@dataclass(frozen=True)
class Ground:
    """The rows of a test, the smallest p that they could give, and what they are, in words."""

    rows: Paired
    smallest: float
    said: str
    silent: bool = False


def ground(evidence: Paired, silence: Silence, rules: Gate) -> Ground:
    """What superiority is tested on."""
    answers = f"{evidence.n} solicited answers"
    if rules.silence == "fair" or not (silence.users or silence.unbounded):
        return Ground(evidence, p_smallest(evidence), answers)
    audits = evidence.part(silence.audited)
    alone = Ground(audits, p_smallest(audits), f"{audits.n} audits", silent=True)
    if silence.unbounded:
        return alone
    said = f"{answers}, and {len(silence.users)} inputs without one on which the two differ, counted against it"
    with_silent = Ground(evidence.against(silence.users), p_least(evidence, silence.users), said, silent=True)
    return min(with_silent, alone, key=lambda one: one.smallest)
