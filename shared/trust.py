"""How much a voice counts, from what it said before.

A user's trust is the mean of a Beta posterior with prior Beta(1, 1) over «agrees with what is known to be right»:
(1 + agreed) / (2 + agreed + disagreed). Known to be right is what a reviewer decided or what solicited answers say of
the same input; only the user's volunteered votes are held against it. A new user, or a nameless one, has 1/2.

Trust is of a day: only votes of the 30 days (UTC) that end with it are held against it. What somebody was a year ago
tells little, and a trust that hung on all that a user ever said would have to be worked out again for all of it.

A vote weighs its user's trust; half of it for a thumbs up or a rating, which cost a tap and name no answer.
Several agreeing voices are taken as independent witnesses: 1 − Π(1 − weight).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from math import prod

MEMORY = timedelta(days=30)
UNKNOWN = 0.5  # the mean of the prior
MOST_HEARD = 200  # newest votes on one input that are heard, so that a greeting sent a million times stays cheap
ENDORSEMENT = 0.5  # share of a vote that only endorses what was served


def posterior_mean(agreed: int, disagreed: int) -> float:
    """Trust after so many agreements and disagreements with what is known to be right."""
    return (1 + agreed) / (2 + agreed + disagreed)


def vote_weight(trust: float, kind: str) -> float:
    """What one vote of this kind of feedback weighs."""
    return trust if kind in ("correction", "preference") else trust * ENDORSEMENT


def combined(weights: Iterable[float]) -> float:
    """What agreeing voices weigh together, between 0 and 1."""
    return 1 - prod(1 - weight for weight in weights)
