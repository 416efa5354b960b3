"""A bench says what was measured, with what, and whether it is enough."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from pathlib import Path

import psutil

from bench.__main__ import benches
from bench.recovery import Recovery, Victim, figures_of
from bench.report import Figure, Report, at_least, at_most
from bench.stage import program
from bench.witnesses import WITNESSES
from local.layout import Ports, RunFolder
from local.programs import stages


def test_a_bar_that_does_not_hold_is_told() -> None:
    fast = Figure("single events", 5_000, "events/s", at_least(4_000), peers={"other": 200.0, "third": None})
    slow = Figure("p99", 31, "ms", at_most(30), spread=(20.0, 31.0))
    plain = Figure("memory", 100, "MB")
    assert [figure.holds for figure in (fast, slow, plain)] == [True, False, None]
    assert Report("b", "c", [fast, plain]).holds
    assert not Report("b", "c", [fast, slow]).holds


def test_the_json_says_how_to_repeat_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.json"
    figure = Figure("p99", 3.0, "ms", at_most(30), (2.0, 4.0), {"peer": 9.5})
    Report("ingest", "python -m bench ingest --quick", [figure]).write(file)
    written = json.loads(file.read_text("utf-8"))
    assert set(written) == {"bench", "date", "machine", "commit", "command", "figures"}
    assert written["command"] == "python -m bench ingest --quick"
    [told] = written["figures"]
    assert told == {
        "name": "p99",
        "value": 3.0,
        "unit": "ms",
        "spread": [2.0, 4.0],
        "bar": "≤ 30",
        "holds": True,
        "peers": {"peer": 9.5},
    }


def test_a_bench_is_a_module_that_measures() -> None:
    assert "report" not in benches()
    assert "stage" not in benches()


def test_every_program_of_an_installation_has_a_witness_of_its_recovery(tmp_path: Path) -> None:
    programs = {one.name for stage in stages(RunFolder(tmp_path), Ports()) for one in stage.programs}
    assert set(WITNESSES) == programs


def test_a_program_that_is_back_too_late_breaks_its_bar() -> None:
    seconds = [Recovery(1.0, late) for late in (2.5, 3.0, 9.0)]
    told = {name: figures_of(Victim(name), seconds)[0] for name in WITNESSES}
    assert {name for name, figure in told.items() if not figure.holds} == {"collector"}
    assert {(figure.value, figure.spread) for figure in told.values()} == {(3.0, (2.5, 9.0))}
    assert not figures_of(Victim("recorder"), [Recovery(1.0, 5.1)])[0].holds
    assert not figures_of(Victim("kafka"), [Recovery(1.0, 15.1)])[0].holds
    [whole, *_] = figures_of(Victim("predictor", is_whole=True), [Recovery(1.0, 9.0)])
    assert (whole.holds, "whole program" in whole.name) == (None, True), "nobody takes it for the figure with the bar"


def test_nothing_stays_behind(tmp_path: Path) -> None:
    forks = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    log = tmp_path / "log"
    with program([sys.executable, "-c", forks], log) as process:
        while not log.read_text().endswith("\n"):
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 20
    with contextlib.suppress(psutil.NoSuchProcess):
        forked = psutil.Process(int(log.read_text()))
        while forked.status() != psutil.STATUS_ZOMBIE:  # ended, and nobody has noted it yet
            assert time.monotonic() < deadline, "what it forked is still there"
