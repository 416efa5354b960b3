"""Figures of a bench: a value, the bar it must reach, what peers reached in the same run; a table, and JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Bar:
    """What a value must reach, or must not pass."""

    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether the value does."""
        return value >= self.limit if self.sign == "≥" else value <= self.limit

    def __str__(self) -> str:
        return f"{self.sign} {_shown(self.limit)}"


def at_least(limit: float) -> Bar:
    """A bar that the value must reach."""
    return Bar("≥", limit)


def at_most(limit: float) -> Bar:
    """A bar that the value must not pass."""
    return Bar("≤", limit)


@dataclass(frozen=True)
class Figure:
    """One measured value. `spread` is the least and the most of repeated runs, or a 95 % interval.

    A peer that did not run has None.
    """

    name: str
    value: float
    unit: str
    bar: Bar | None = None
    spread: tuple[float, float] | None = None
    peers: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None when there is none."""
        return None if self.bar is None else self.bar.holds(self.value)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "spread": self.spread,
            "bar": None if self.bar is None else str(self.bar),
            "holds": self.holds,
            "peers": dict(self.peers),
        }


@dataclass(frozen=True)
class Report:
    """All figures of one run, with what it takes to repeat it."""

    bench: str
    command: str
    figures: Sequence[Figure]

    @property
    def holds(self) -> bool:
        """Whether every bar holds."""
        return all(figure.holds is not False for figure in self.figures)

    def table(self) -> Table:
        """For people."""
        table = Table("figure", "value", "spread", "bar", "holds", "peers", title=f"bench {self.bench}: {machine()}")
        table.columns[1].justify = "right"
        for figure in self.figures:
            spread = "" if figure.spread is None else " – ".join(map(_shown, figure.spread))
            bar = "" if figure.bar is None else str(figure.bar)
            holds = {True: "[green]yes", False: "[red]NO", None: ""}[figure.holds]
            peers = ", ".join(f"{name} {_peer(value)}" for name, value in figure.peers.items())
            table.add_row(figure.name, f"{_shown(figure.value)} {figure.unit}", spread, bar, holds, peers)
        return table

    def write(self, path: Path) -> None:
        """As JSON."""
        whole = {
            "bench": self.bench,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "commit": commit(),
            "command": self.command,
            "figures": [figure.plain() for figure in self.figures],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")


def machine() -> str:
    """Cores, memory and system: what a figure depends on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()}"


def commit() -> str:
    """The code that was measured; `+` when it was changed since that commit."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"


def _peer(value: float | None) -> str:
    return "did not run" if value is None else _shown(value)
