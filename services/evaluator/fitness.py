"""What a version weighs: bytes on disk and in memory, and how far its weights went from the base, from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.events import Check

LINE, HISTORY = 8, 3  # versions of the line that are looked at; fewer than three are no history


@dataclass(frozen=True)
class Fitness:
    """Bytes of weights; Frobenius norm of the adapter's change of the base; mean length of the head's rows (or 0)."""

    size: int
    adapter: float
    head: float


def weigh(folder: Path) -> Fitness:
    """The fitness of the version whose files lie in a folder."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    tensors: dict[str, Any] = {}
    for path in files:
        tensors.update(load_file(path))
    head = tensors.get("weight")
    return Fitness(
        size=sum(path.stat().st_size for path in files),
        adapter=sum(_change(tensors, name) for name in tensors if "lora_A" in name) ** 0.5,
        head=float(head.float().norm(dim=1).mean()) if head is not None else 0.0,
    )


def _change(tensors: dict[str, Any], name: str) -> float:
    """‖BA‖² of one LoRA pair, by way of its rank: tr(BᵀB · AAᵀ)."""
    a, b = tensors[name].double(), tensors[name.replace("lora_A", "lora_B")].double()
    return float(((b.T @ b) * (a @ a.T)).sum())


def size(candidate: Fitness, champion: Fitness, limit: float) -> Check:
    """Whether the candidate needs about as much memory as the champion."""
    ratio = candidate.size / max(1, champion.size)
    passed = ratio <= limit
    reason = (
        f"Its weights take {_bytes(candidate.size)}, the champion's {_bytes(champion.size)}; allowed {limit:g} times."
    )
    return Check(name="size", passed=passed, value=ratio, threshold=limit, reason=reason)


def norm(candidate: Fitness, line: tuple[Fitness, ...], limit: float) -> Check:
    """Whether the weights went no further than those of the champion and its ancestors, by a factor.

    A young line is no history: from a first version of twenty examples the next may rightly go far.
    """
    ratios = {
        "adapter": candidate.adapter / max(max(one.adapter for one in line), 1e-9),
        "head": candidate.head / max(max(one.head for one in line), 1e-9),
    }
    part = max(ratios, key=ratios.__getitem__)
    reason = (
        f"The norm of its {part} is {ratios[part]:.2f} times the largest of the champion and its ancestors"
        f" ({len(line)} looked at); allowed {limit:g}{'' if len(line) >= HISTORY else ' once there are three'}."
    )
    passed = ratios[part] <= limit or len(line) < HISTORY
    return Check(name="norm", passed=passed, value=ratios[part], threshold=limit, n=len(line), reason=reason)


def latency(candidate_s: float, champion_s: float, rows: int, turns: int, limit: float) -> Check:
    """Whether the candidate answers about as fast as the champion."""
    ratio = candidate_s / max(champion_s, 1e-9)
    reason = (
        f"It answers {rows} texts in {1000 * candidate_s:.0f} ms, the champion in {1000 * champion_s:.0f} ms, each the"
        f" best of {turns} turns; allowed {limit:g} times."
    )
    return Check(name="latency", passed=ratio <= limit, value=ratio, threshold=limit, n=rows, reason=reason)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
