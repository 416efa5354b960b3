"""Which version answers whom: the champion, or a canary for a share of the users, drawn by a hash, so that each stays.

Another canary draws anew: nobody is the one on whom every trial is made.
"""

from __future__ import annotations

import hashlib

from schemas.events import ModelStateChanged

DRAWS = 2**64


class Aliases:
    """The states of champions and canaries by model. One thread uses them."""

    def __init__(self) -> None:
        """Start with none."""
        self.champions: dict[str, ModelStateChanged] = {}
        self.canaries: dict[str, ModelStateChanged] = {}

    def exchange(self, state: ModelStateChanged) -> ModelStateChanged | None:
        """Let a state hold from now on; the one that held before it."""
        named = self.champions if state.alias == "champion" else self.canaries
        old = named.pop(state.model, None)
        if not is_over(state):
            named[state.model] = state
        return old

    def name(self, model: str, version: str) -> bool:
        """Whether a version answers for a model."""
        named = self.champions.get(model), self.canaries.get(model)
        return any(state is not None and state.version == version for state in named)

    def is_on_trial(self, model: str, subject: str) -> bool:
        """Whether the model's canary answers this subject: a user's pseudonym, or a prediction's id."""
        canary = self.canaries.get(model)
        return canary is not None and takes_canary(canary.version, subject, canary.share)

    def state(self, model: str, subject: str) -> ModelStateChanged | None:
        """Who answers a subject now; None where nobody knows the model."""
        return (self.canaries if self.is_on_trial(model, subject) else self.champions).get(model)


def is_over(state: ModelStateChanged) -> bool:
    """Whether the news are that a canary's trial has ended."""
    return state.alias == "canary" and not state.share


def takes_canary(canary: str, subject: str, share: float) -> bool:
    """Whether a subject (a user's pseudonym, or the prediction's id where nobody is named) is among the `share`."""
    drawn = hashlib.blake2b(f"{canary}\x1f{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) < share * DRAWS
