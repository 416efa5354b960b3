"""What a training costs: CPU seconds, the most memory at once, and an estimate of the energy."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

CORE_W, MEMORY_W_PER_GB = 12.0, 0.3725  # of unknown make (Green Algorithms, Lannelongue et al. 2021)


@dataclass(frozen=True)
class Costs:
    """What one process took, from its start."""

    cpu_s: float
    peak_memory_mb: float
    energy_wh: (
        float  # estimated: busy cores and held memory, without cooling and without what the machine takes at rest
    )


def until_now(seconds: float) -> Costs:
    """The costs of this process, which has lived so long."""
    cpu_s, peak_mb = time.process_time(), _peak_memory_mb()
    return Costs(cpu_s, peak_mb, (cpu_s * CORE_W + seconds * peak_mb / 1024 * MEMORY_W_PER_GB) / 3600)


def _peak_memory_mb() -> float:
    """The most memory that this process held at once; macOS counts bytes where Linux counts KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
