"""What a training costs: seconds of each phase, CPU and GPU seconds, the most memory, the energy."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field

CORE_W, GPU_W, MEMORY_W_PER_GB = 12.0, 200.0, 0.3725  # of unknown make (Green Algorithms, Lannelongue et al. 2021)


@dataclass
class Stopwatch:
    """Seconds of one phase after the other."""

    laps: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """The phase ends, and the next begins."""
        now = time.perf_counter()
        self.laps[phase], self._last = now - self._last, now


@dataclass(frozen=True)
class Costs:
    """What one process took, from its start.

    `gpu_s` are the seconds for which it held a GPU, busy or not, and `peak_gpu_memory_mb` is what its tensors took at
    most; both are 0 without one. The energy is that of busy cores, of a held GPU and of held memory, estimated: without
    cooling, and without what the machine takes at rest.
    """

    cpu_s: float
    gpu_s: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float
    energy_wh: float

    @classmethod
    def none(cls) -> Costs:
        """Of nothing."""
        return cls(0.0, 0.0, 0.0, 0.0, 0.0)

    def after(self, before: Costs) -> Costs:
        """These, and those of a process before: all seconds and energy, and the most memory of either."""
        return Costs(
            self.cpu_s + before.cpu_s,
            self.gpu_s + before.gpu_s,
            max(self.peak_memory_mb, before.peak_memory_mb),
            max(self.peak_gpu_memory_mb, before.peak_gpu_memory_mb),
            self.energy_wh + before.energy_wh,
        )


def until_now(seconds: float, gpu_s: float = 0.0, peak_gpu_memory_mb: float = 0.0) -> Costs:
    """The costs of this process, which has lived so long."""
    cpu_s, peak_mb = time.process_time(), _peak_memory_mb()
    watt_s = cpu_s * CORE_W + gpu_s * GPU_W + seconds * peak_mb / 1024 * MEMORY_W_PER_GB
    return Costs(cpu_s, gpu_s, peak_mb, peak_gpu_memory_mb, watt_s / 3600)


def _peak_memory_mb() -> float:
    """The most memory that this process held at once; macOS counts bytes where Linux counts KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
