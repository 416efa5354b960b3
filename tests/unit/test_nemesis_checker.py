"""The checker is checked: honest histories pass, and each forged one is caught under the right name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nemesis.checker import Found, check
from nemesis.history import Attempt, History, Kind, Outcome, Status, Unit, read
from shared.errors import FatalError


def tried(
    id_: str, status: Status, at: float = 0, content: str = "a", kind: Kind = "said", receipt: str | None = None
) -> Attempt:
    """One attempt that took a second."""
    http = {"ok": 202, "fail": 503, "info": None}[status]
    end = None if status == "info" else at + 1
    return Attempt(Unit(id_, content, kind), at, end, status, http, receipt or (id_ if status == "ok" else None))


def kept(id_: str, content: str = "a") -> Found:
    return Found(id_, content, "stored")


def put_aside(id_: str, content: str, reason: str) -> Found:
    return Found(id_, content, "dead", reason)


HONEST = [
    tried("e1", "ok"),
    tried("e1", "ok", 5),
    tried("e2", "fail"),
    tried("e2", "ok", 5),
    tried("e3", "info"),
    tried("e3", "ok", 9),
    tried("e4", "fail"),
    tried("e5", "ok"),
    tried("e5", "fail", 3, "b", "conflict"),
    tried("e6", "ok"),
    tried("e6", "ok", 3, "b", "conflict"),
    tried("r1", "ok", kind="raw"),
    tried("ask-1", "info", kind="answer"),
    tried("ask-2", "info", kind="answer"),
    tried("bad-1", "fail", kind="bad"),
]
THERE = [
    *map(kept, ("e1", "e2", "e3", "e5", "e6", "ask-2")),
    put_aside("e6", "b", "id_conflict"),
    put_aside("r1", "a", "schema_error"),
]


def test_an_honest_history_passes() -> None:
    verdict = check(HONEST, THERE)
    assert verdict.breaches == {}
    assert (verdict.accepted, verdict.stored, verdict.dead, verdict.recovered) == (7, 6, 2, 1)
    assert verdict.imbalance == 0


def test_an_empty_history_and_an_empty_system_agree() -> None:
    assert check([], []).breaches == {}


def test_what_was_in_flight_when_it_was_accepted_elsewhere_may_win() -> None:
    """Two contents of one id at the same time: either may be first."""
    both = [tried("e1", "ok", 0.0), tried("e1", "ok", 0.5, "b", "conflict")]
    assert check(both, [kept("e1", "b"), put_aside("e1", "a", "id_conflict")]).breaches.keys() == {"unexplained"}
    assert check(both, [kept("e1"), put_aside("e1", "b", "id_conflict")]).breaches == {}


FORGED: dict[str, tuple[list[Attempt], list[Found], set[str]]] = {
    "a loss": (HONEST, THERE[1:], {"lost", "imbalance"}),
    "a loss that was told twice": (
        [tried("e1", "ok"), tried("e1", "ok", 2)],
        [],
        {"lost", "imbalance"},
    ),
    "a loss after an unknown first try": ([tried("e1", "info"), tried("e1", "ok", 2)], [], {"lost", "imbalance"}),
    "a loss of poison": ([tried("r1", "ok", kind="raw")], [], {"lost", "imbalance"}),
    "a loss that a phantom makes up for": (HONEST, [*THERE[1:], kept("e99")], {"lost", "unexpected"}),
    "a row twice": (HONEST, [*THERE, kept("e1")], {"duplicated", "imbalance"}),
    "stored and in the dead letters": (
        HONEST,
        [*THERE, put_aside("e1", "a", "id_conflict")],
        {"duplicated", "unexplained", "imbalance"},
    ),
    "stored and in quarantine": (HONEST, [*THERE, Found("e1", "a", "quarantined")], {"duplicated", "imbalance"}),
    "a phantom": (HONEST, [*THERE, kept("e99")], {"unexpected", "imbalance"}),
    "an aborted read": (HONEST, [*THERE, kept("e4")], {"rejected_but_stored", "imbalance"}),
    "an aborted read in the dead letters": (
        [tried("e4", "fail")],
        [put_aside("e4", "a", "schema_error")],
        {"rejected_but_stored", "unexplained", "imbalance"},
    ),
    "an aborted read of a bad body": (HONEST, [*THERE, kept("bad-1")], {"rejected_but_stored", "imbalance"}),
    "a bad body that was welcome": (
        [tried("bad-1", "ok", kind="bad")],
        [kept("bad-1")],
        {"swallowed"},
    ),
    "other content than was sent": (
        [tried("e1", "ok")],
        [kept("e1", "z")],
        {"lost", "altered"},
    ),
    "the second content of an id": (
        [tried("e1", "ok"), tried("e1", "ok", 3, "b", "conflict")],
        [kept("e1", "b"), put_aside("e1", "a", "id_conflict")],
        {"altered", "unexplained"},
    ),
    "both contents of an id": (
        [tried("e1", "ok"), tried("e1", "ok", 3, "b", "conflict")],
        [kept("e1"), kept("e1", "b")],
        {"altered", "duplicated"},
    ),
    "a conflict that nobody kept": (
        [tried("e1", "ok"), tried("e1", "ok", 3, "b", "conflict")],
        [kept("e1")],
        {"lost", "imbalance"},
    ),
    "a repeat with another receipt": (
        [tried("e1", "ok", receipt="e1"), tried("e1", "ok", 3, receipt="e2")],
        [kept("e1")],
        {"receipts"},
    ),
    "a good event in the dead letters": ([tried("e1", "ok")], [put_aside("e1", "a", "oops")], {"unexplained"}),
    "poison in the dead letters for no known reason": (
        [tried("r1", "ok", kind="raw")],
        [put_aside("r1", "a", "oops")],
        {"unexplained"},
    ),
    "a spool that was not drained": ([tried("e1", "ok")], [Found("e1", "a", "pending")], {"undrained"}),
    "an answer that never came": ([tried("e1", "info")], [], {"unresolved"}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_history_is_caught(name: str) -> None:
    attempts, found, broken = FORGED[name]
    assert set(check(attempts, found).breaches) == broken


def test_the_file_tells_what_was_tried_and_told(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    with History(file) as history:
        first = history.begin([Unit("e1", "a"), Unit("e2", "b")], 1.0)
        second = history.begin([Unit("r1", "c", "raw")], 2.0)
        history.begin([Unit("e3", "d")], 3.0)
        history.end(second, [Outcome("ok")], 4.0)
        history.end(first, [Outcome("ok", 207, "e1"), Outcome("fail", 422)], 5.0)
    assert read(file) == [
        Attempt(Unit("e1", "a"), 1.0, 5.0, "ok", 207, "e1"),
        Attempt(Unit("e2", "b"), 1.0, 5.0, "fail", 422, None),
        Attempt(Unit("r1", "c", "raw"), 2.0, 4.0, "ok", None, None),
        Attempt(Unit("e3", "d"), 3.0, None, "info", None, None),
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
from nemesis.history import History, Outcome, Unit
history = History(Path(sys.argv[1]))
for number in range(1000):
    told = history.begin([Unit(f"e{number}", "a")], number)
    if number == 777:
        os.kill(os.getpid(), signal.SIGKILL)
    history.end(told, [Outcome("ok", 202, f"e{number}")], number)
"""


def test_a_killed_client_has_written_all_that_it_knew(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    attempts = read(file)
    assert [one.status for one in attempts] == ["ok"] * 777 + ["info"]
    with file.open("ab") as torn:
        torn.write(b'{"end": 778, "at": 1')  # the kernel cut the last write short
    assert read(file) == attempts


def test_a_history_that_is_torn_in_the_middle_proves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"begin": 1, "at"\n' + json.dumps({"begin": 2, "at": 1.0, "units": []}) + "\n")
    with pytest.raises(FatalError, match=r"history\.jsonl:1 is torn"):
        read(file)
