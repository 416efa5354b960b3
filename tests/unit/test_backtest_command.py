"""`learnback backtest`, as a person runs it: a table to paste, JSON, and errors in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import learnback
from cli.backtest import BacktestError
from shared.errors import BadInputError, ConfigError
from shared.tables import open_database
from tests.unit.recorder_story import MODEL, Database, added, corrected
from tests.unit.test_backtest import FIRST, record_of
from tests.weights import ROWS


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of an installation, with a policy that asks for more than the usual one."""
    monkeypatch.setenv("LEARNBACK_ARTIFACTS_URL", f"file://{tmp_path}/artifacts")
    (tmp_path / "strict.toml").write_text("[defaults.gate]\nalpha = 0.00001\n[defaults.trigger]\nmin_examples = 3\n")
    return tmp_path


def run(place: Path, *more: str, policy: str = "strict.toml") -> Result:
    arguments = ["backtest", "--policy", str(place / policy), "--database", f"sqlite:///{place}/learnback.db", *more]
    return CliRunner().invoke(learnback, arguments)


def test_a_table_says_what_another_policy_would_have_made_of_the_record(place: Path) -> None:
    scene = record_of(Database(engine=open_database(f"sqlite:///{place}/learnback.db")), place)
    said = scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    scene.crown(scene.v1, FIRST + 1, scene.v0, said.event_id)
    for number in range(4):
        told = corrected(f"v{number}", f"volunteered {number}", "invoice", 110 + 10 * number, user=f"{number:032x}")
        scene.database.record(*told)

    done = run(place, "--json", str(place / "found.json"))
    assert done.exit_code == 0, done.output
    assert (
        "| v1 | 2026-11-21 12:01:40 | promote | inconclusive | 2026-11-21 12:01:40 | 10 | v0 | 0.0 % |" in done.output
    )
    assert "| on record | v0 (by hand), v1 | 10 | 0.0 % |" in done.output
    assert "| here | v0 (by hand) | 10 | 0.0 % |" in done.output
    assert "| here | 1 | examples 1 | 2026-11-21 12:02:11 | 2026-11-21 12:02:11 |" in done.output
    [found] = json.loads((place / "found.json").read_text())
    assert (found["model"], found["gate"]["alpha"]) == (MODEL, 0.00001)
    assert run(place, "--model", MODEL).stdout == done.stdout, "the same record gives the same table"


def test_what_is_wrong_is_one_sentence(place: Path) -> None:
    assert isinstance(run(place, policy="none.toml").exception, BadInputError)
    assert "no policy file" in str(run(place, policy="none.toml").exception)
    assert "There is no database" in str(run(place).exception)
    Database(engine=open_database(f"sqlite:///{place}/learnback.db"))
    assert "no model yet" in str(run(place).exception)
    (place / "wrong.toml").write_text("[defaults.gate]\nalpah = 1\n")
    wrong = run(place, policy="wrong.toml")
    assert isinstance(wrong.exception, ConfigError)
    assert "wrong.toml:2: defaults.gate.alpah" in str(wrong.exception)


def test_a_model_without_a_version_is_told_by_the_evaluator(place: Path) -> None:
    story = Database(engine=open_database(f"sqlite:///{place}/learnback.db"))
    story.record(added(story, ROWS))
    failed = run(place)
    assert isinstance(failed.exception, BacktestError)
    assert f"no version of a model {MODEL}" in str(failed.exception)
    assert "has no model other; it has m" in str(run(place, "--model", "other").exception)
