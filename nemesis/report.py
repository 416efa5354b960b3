"""What a run of the nemesis found: a table for people, JSON for machines."""

from __future__ import annotations

import json
import platform
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nemesis.checker import Verdict
from nemesis.drain import Drain
from nemesis.faults import BROKER, Fault, slowest
from nemesis.hostile import Hostile

MOST_GROWTH_MB = 50
SHOWN = 10  # ids of a breach that the report names


@dataclass(frozen=True)
class Load:
    """What was asked for and what was done."""

    minutes: float
    seed: int
    attempts: int
    repeats: int
    poison: int
    drain: Drain
    answers: dict[str, int]
    unknown: int
    unknown_resolved: int


def report(
    load: Load, verdict: Verdict, faults: list[Fault], hostile: Hostile, replay_equal: bool | None
) -> dict[str, Any]:
    """All figures of a run."""
    # An orderly restart takes what its end takes, and a frozen process is ready as it thaws: they are told by victim.
    recoveries = [fault.recovery_s for fault in faults if fault.victim != BROKER and fault.kind.startswith("kill")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "minutes": load.minutes,
        "seed": load.seed,
        "attempts": load.attempts,
        "retries": load.repeats,
        "poison": load.poison,
        "accepted": verdict.accepted,
        "stored": verdict.stored,
        "dead": verdict.dead,
        "quarantined": verdict.quarantined,
        "pending": verdict.pending,
        "recovered": verdict.recovered,
        "lost": len(verdict.lost),
        "duplicated": len(verdict.duplicated),
        "rejected_but_stored": len(verdict.rejected_but_stored),
        "unknown": load.unknown,
        "unknown_resolved": load.unknown_resolved,
        "breaches": {name: {"count": len(ids), "first": ids[:SHOWN]} for name, ids in verdict.breaches.items()},
        "faults": len(faults),
        "faults_by_kind": dict(Counter(fault.kind for fault in faults)),
        "faults_by_victim": dict(Counter(fault.victim for fault in faults)),
        "unrecovered": sum(fault.recovery_s is None for fault in faults),
        "max_recovery_s": max((one for one in recoveries if one is not None), default=0.0),
        "max_recovery_s_by_victim": slowest(faults),
        "drain_s": round(load.drain.seconds, 1),
        "undrained": load.drain.problem,
        "answers": load.answers,
        "hostile_requests": hostile.cases,
        "hostile_wrong": len(hostile.wrong),
        "hostile_first_wrong": hostile.wrong[:SHOWN],
        "hostile_answers": {str(status): count for status, count in sorted(hostile.statuses.items())},
        "gigabyte_body_growth_mb": round(hostile.growth / 1e6, 1),
        "replay_digest_equal": replay_equal,
    }


def failures(told: dict[str, Any]) -> list[str]:
    """Why the run failed, in words."""
    problems = [f"{name}: {breach['count']}" for name, breach in told["breaches"].items()]
    if told["undrained"]:
        problems.append(told["undrained"].rstrip("."))
    if told["unrecovered"]:
        problems.append(f"{told['unrecovered']} programs did not recover")
    if told["hostile_wrong"]:
        problems.append(f"{told['hostile_wrong']} wrong answers to hostile requests")
    if told["gigabyte_body_growth_mb"] >= MOST_GROWTH_MB:
        problems.append("a body of a gigabyte costs memory")
    if not told["replay_digest_equal"]:
        problems.append("a replay of the log gives another digest, or none")
    return problems


def table(told: dict[str, Any]) -> str:
    """The figures as lines of name and value."""
    return "\n".join(f"{name:26} {value}" for name, value in told.items())


def write(told: dict[str, Any], path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
