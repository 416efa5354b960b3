"""`learnback export`: what other programs load gives the version's own answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import learnback
from cli.export import ExportError
from shared.artifacts import ArtifactStore
from shared.errors import BadInputError
from shared.lm.bases import locate
from shared.lm.classification import Classification
from shared.manifest import MANIFEST
from shared.tables import open_database
from tests.unit.recorder_story import MODEL, Database
from tests.unit.test_backtest import FIRST, Scene, record_of
from tests.weights import BASE, ROWS

ASKED = "where is my order?"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEARNBACK_ARTIFACTS_URL", f"file://{tmp_path}/artifacts")
    return tmp_path


@pytest.fixture
def scene(place: Path) -> Scene:
    """A first version that serves, and a candidate of it."""
    scene = record_of(Database(engine=open_database(f"sqlite:///{place}/learnback.db")), place)
    scene.offer(scene.v1, scene.v0, FIRST)
    return scene


def run(place: Path, *more: str) -> Result:
    return CliRunner().invoke(learnback, ["export", *more, "--database", f"sqlite:///{place}/learnback.db"])


def as_its_readme_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is defined after the README's program ran in the folder; a packaged base is found where it is."""
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    monkeypatch.chdir(folder)
    defined: dict[str, Any] = {}
    exec(found[1].replace(f'"{BASE}"', repr(str(locate(BASE)))), defined)
    return defined


@pytest.mark.parametrize("shape", ["peft", "merged"])
@pytest.mark.parametrize("name", [None, "v1"])
def test_the_exported_version_answers_as_the_served_one(
    place: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch, shape: str, name: str | None
) -> None:
    folder = place / "out" / shape
    done = run(place, MODEL, "--to", str(folder), "--format", shape, *(["--version", name] if name else []))
    assert done.exit_code == 0, (done.output, done.exception)
    version = scene.v1 if name else scene.v0
    assert f"({version.id}) is in {folder}" in done.output
    assert json.loads((folder / MANIFEST).read_text())["version"] == version.id

    task = Classification(BASE)
    task.load(version.id, version.folder)
    [answer] = task.answer(version.id, [ASKED], top_k=len(version.labels))
    defined = as_its_readme_says(folder, monkeypatch)
    beliefs = dict(zip(defined["labels"], defined["beliefs"][0].tolist(), strict=True))
    assert beliefs == pytest.approx({one.label: one.score for one in answer.scores}, abs=0.03)  # bfloat16 may serve


def test_a_graph_answers_texts_of_all_lengths_as_the_predictor_does(
    place: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "graph"
    done = run(place, MODEL, "--to", str(folder), "--format", "onnx")
    assert done.exit_code == 0, (done.output, done.exception)
    defined = as_its_readme_says(folder, monkeypatch)

    texts = [ASKED, *(text for text, _ in ROWS), "and then I asked again where my parcel is, " * 30, "no"]
    batch = defined["tokenizer"].encode_batch(texts)
    asked = {
        "input_ids": numpy.array([one.ids for one in batch]),
        "attention_mask": numpy.array([one.attention_mask for one in batch]),
    }
    [found] = onnxruntime.InferenceSession(str(folder / "model.onnx")).run(None, asked)

    task = Classification(BASE)
    task.load(scene.v0.id, scene.v0.folder)
    answers = task.answer(scene.v0.id, texts, top_k=len(scene.v0.labels))
    assert [defined["labels"][row] for row in found.argmax(-1)] == [answer.output for answer in answers]
    for row, answer in zip(found.tolist(), answers, strict=True):
        beliefs = dict(zip(defined["labels"], row, strict=True))
        assert beliefs == pytest.approx({one.label: one.score for one in answer.scores}, abs=0.03)  # as above


def test_what_is_wrong_is_one_sentence_and_nothing_is_left(place: Path, scene: Scene) -> None:
    folder = place / "out"
    assert "no model nobody; it has" in str(run(place, "nobody", "--to", str(folder)).exception)
    assert "has no version v9" in str(run(place, MODEL, "--to", str(folder), "--version", "v9").exception)
    assert isinstance(run(place, MODEL, "--to", str(place)).exception, BadInputError)
    weights = scene.v0.folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    spoiled = run(place, MODEL, "--to", str(folder)).exception
    assert isinstance(spoiled, ExportError)
    assert "adapter_model.safetensors is missing or differs from its manifest" in str(spoiled)
    assert not folder.exists()
    assert not list(place.glob(".export-*"))


def test_a_version_whose_files_are_gone_is_told_so(place: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_ARTIFACTS_URL", f"file://{place}/elsewhere")
    assert ArtifactStore(f"file://{place}/elsewhere").digest(f"versions/{scene.v0.id}") is None
    assert "has no manifest" in str(run(place, MODEL, "--to", str(place / "out")).exception)
