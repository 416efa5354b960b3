"""How many rows see which difference: what the gate's exact test can tell, before and after it is made."""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist

NORMAL = NormalDist()


def rows_to_decide(gain: float, discordance: float, alpha: float, power: float) -> int:
    """How many rows show a gain of accuracy above 0 at this level and power. `discordance`: the mean of d².

    Connor (1987): n = (z_α √ψ + z_β √(ψ − d²))² / d² with discordance ψ and gain d.
    """
    z_alpha, z_beta = NORMAL.inv_cdf(1 - alpha), NORMAL.inv_cdf(power)
    spread = max(discordance, gain**2)
    return ceil((z_alpha * sqrt(spread) + z_beta * sqrt(spread - gain**2)) ** 2 / gain**2)


def power_of(n: int, loss: float, discordance: float, level: float) -> float:
    """Chance that the exact one-sided sign test on n rows sees a loss of accuracy, exactly.

    Discordant rows are Bin(n, ψ), losses among them Bin(·, (ψ + d) / 2ψ), with ψ the discordance, at least the loss d.
    """
    from numpy import arange
    from scipy.stats import binom

    spread = max(discordance, loss)
    discordant = arange(n + 1)
    critical = binom.isf(level, discordant, 0.5) + 1  # the fewest losses that reject
    seen = binom.sf(critical - 1, discordant, (spread + loss) / 2 / spread)
    return float((binom.pmf(discordant, n, spread) * seen).sum())


def smallest_visible_loss(n: int, discordance: float, level: float, power: float) -> float | None:
    """The smallest loss of accuracy that the test on n rows sees with this power; None: not even a total one."""
    if power_of(n, 1.0, discordance, level) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(12):  # to a quarter of a thousandth
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(n, middle, discordance, level) >= power else (middle, high)
    return high
