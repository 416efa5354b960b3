"""A model that writes text, exported: what its README does with the folder says what the served version says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.__main__ import learnback
from schemas.events import CandidateTrained
from services.predictor.export import Order, Shape, write
from shared.artifacts import ArtifactStore
from shared.errors import BadInputError
from shared.lm.bases import locate
from shared.lm.generation import Generation
from shared.tables import open_database
from tests.unit.recorder_story import Database, at
from tests.unit.test_generation import BASE, ROWS, TARGETS, TEXTS
from tests.unit.test_generation import made as trained
from tests.weights import Version

VERSION = "t0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store with one version that writes JSON."""
    folder = tmp_path_factory.mktemp("text")
    store = ArtifactStore(f"file://{folder}/artifacts")
    (folder / "files").mkdir()
    store.put(f"versions/{VERSION}", trained(Generation(BASE), folder / "files", ROWS), {"version": VERSION})
    return store


@pytest.mark.parametrize("shape", ["peft", "merged"])
def test_the_exported_version_writes_what_it_was_taught(
    store: ArtifactStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shape: Shape,
) -> None:
    folder = tmp_path / shape
    write(
        Order(
            shape=shape,
            task="generation",
            base=BASE,
            version=VERSION,
            manifest_sha256=store.digest(f"versions/{VERSION}") or "",
            artifacts=f"file://{store.root}",
            folder=folder,
        )
    )
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert program
    monkeypatch.chdir(folder)
    asked = program[1].replace('"where is my order?"', repr(TEXTS[0])).replace(f'"{BASE}"', repr(str(locate(BASE))))
    exec(asked, {})
    assert TARGETS[0] in capsys.readouterr().out


def test_a_model_that_writes_text_is_no_graph(tmp_path: Path) -> None:
    database = Database(engine=open_database(f"sqlite:///{tmp_path}/learnback.db"))
    made = CandidateTrained(
        event_id="c-1",
        occurred_at=at(1),
        source="trainer",
        request_id="r-1",
        model="extract",
        task="generation",
        base=BASE,
        version=VERSION,
        parent=None,
        trigger="examples",
        requested_by="aggregator",
        manifest_sha256="0" * 64,
        labels=(),
    )
    serves = Version(VERSION, "0" * 64, tmp_path, ()).champion("extract")
    database.record(made, serves.model_copy(update={"task": "generation", "base": BASE}))
    told = ["export", "extract", "--to", str(tmp_path / "out"), "--format", "onnx"]
    done = CliRunner().invoke(learnback, [*told, "--database", f"sqlite:///{tmp_path}/learnback.db"])
    assert isinstance(done.exception, BadInputError)
    assert "only classifiers become graphs" in str(done.exception)
    assert not (tmp_path / "out").exists()
