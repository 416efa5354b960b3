"""A world in which it is known how good each version is: inputs, who asks, and who is right on what.

A version is right on an input when the input's difficulty, what ties the version to the user, and a chance of its own
are together below a threshold (a probit model; all three are standard normal before they are weighted). Difficulty is
common to all versions, so their errors are correlated; how much is set by the discordance, the share of inputs on which
exactly one of two versions is right. Versions of equal accuracy are exchangeable: no honest test may prefer one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NORMAL = norm.ppf((np.arange(4000) + 0.5) / 4000)  # a standard normal as equally likely points, for means over it
SURE = 0.999  # no more of the variance is difficulty; the points tell apart what that leaves


@dataclass(frozen=True)
class Inputs:
    """Inputs, column by column: how difficult each is (standard normal), its slice and its user."""

    difficulty: Floats
    slice: Ints
    user: Ints

    def __len__(self) -> int:
        return len(self.difficulty)

    def where(self, chosen: Bools) -> Inputs:
        """Some of them."""
        return Inputs(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def then(self, more: Inputs) -> Inputs:
        """These, and newer ones."""
        return Inputs(*(np.concatenate([getattr(self, one.name), getattr(more, one.name)]) for one in fields(self)))


@dataclass(frozen=True)
class Version:
    """Accuracy in each slice."""

    accuracy: Floats

    @property
    def mean(self) -> float:
        """Accuracy over all traffic: slices are equally large."""
        return float(self.accuracy.mean())


@dataclass(frozen=True)
class World:
    """What is common to all versions: `shared` of the variance is difficulty, `bound` of it ties a version to a user.

    `rows_per_user` inputs in a row are one user's; slices are equally large.
    """

    shared: float
    bound: float = 0.0
    rows_per_user: int = 1
    slices: int = 1

    def inputs(self, count: int, first_user: int, chance: Generator) -> Inputs:
        """New inputs, of users that are counted from `first_user`."""
        users = first_user + np.arange(count, dtype=np.int64) // self.rows_per_user
        return Inputs(chance.standard_normal(count), chance.integers(0, self.slices, count), users)

    def right(self, version: Version, inputs: Inputs, chance: Generator) -> Bools:
        """Whether the version is right on each input, asked once."""
        own = sqrt(1 - self.shared - self.bound) * chance.standard_normal(len(inputs))
        drawn = sqrt(self.shared) * inputs.difficulty + own
        if self.bound:
            _, user = np.unique(inputs.user, return_inverse=True)
            drawn += sqrt(self.bound) * chance.standard_normal(len(inputs))[user]
        right: Bools = drawn < norm.ppf(version.accuracy)[inputs.slice]
        return right


@lru_cache
def world(champion: float, candidate: float, discordance: float, bound: float = 0.0, rows_per_user: int = 1) -> World:
    """A world in which versions of these accuracies disagree so often; `bound` is a share of what is not difficulty.

    Raises:
        ValueError: no world is like that, as with a discordance below the difference.
    """

    def excess(shared: float) -> float:
        return disagreement(champion, candidate, shared) - discordance

    if excess(0.0) < 0 or excess(SURE) > 0:
        raise ValueError(f"{champion:.1%} and {candidate:.1%} cannot disagree on {discordance:.1%} of inputs.")
    shared = float(brentq(excess, 0.0, SURE))
    return World(shared, bound * (1 - shared), rows_per_user)


def disagreement(champion: float, candidate: float, shared: float) -> float:
    """The share of inputs on which exactly one of two versions is right, when so much of the variance is difficulty."""
    first, second = (
        norm.cdf((norm.ppf(accuracy) - sqrt(shared) * NORMAL) / sqrt(1 - shared)) for accuracy in (champion, candidate)
    )
    return float(np.mean(first * (1 - second) + second * (1 - first)))
