"""Sixty versions whose files were cut, flipped, zero-filled or spoilt by NaN are announced: none ever answers."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from bench.serving.damage import KINDS, store_damaged
from services.predictor.answers import Answer, Question
from services.predictor.serving import Serving
from shared.artifacts import ArtifactStore
from shared.manifest import MANIFEST
from tests.weights import MODEL, ROWS, Version, make_version

TEXT = "where is my parcel"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path_factory.mktemp('artifacts')}")


@pytest.fixture(scope="module")
def good(store: ArtifactStore) -> Version:
    return make_version(store, ROWS)


@pytest.fixture(scope="module")
def serving(store: ArtifactStore, good: Version) -> Iterator[Serving]:
    serving = Serving(store)
    assert serving.serve(good.champion())
    yield serving
    [task] = serving._tasks.values()
    assert task.versions == {good.id}  # nothing of the others is kept


def version_of(answers: list[Answer | Exception]) -> str:
    [answer] = answers
    assert isinstance(answer, Answer)
    return answer.version


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_version_never_answers(
    store: ArtifactStore, good: Version, serving: Serving, tmp_path: Path, kind: str, seed: int
) -> None:
    files = shutil.copytree(good.folder, tmp_path / "files", ignore=shutil.ignore_patterns(MANIFEST))
    version = f"{kind}-{seed}"
    digest = store_damaged(store, files, version, kind, random.Random(seed))
    news = good.champion() if seed % 3 else good.canary(0.5)
    before = REGISTRY.get_sample_value("learnback_swap_failed_total", {"model": MODEL}) or 0
    assert not serving.serve(news.model_copy(update={"version": version, "manifest_sha256": digest}))
    assert REGISTRY.get_sample_value("learnback_swap_failed_total", {"model": MODEL}) == before + 1
    assert serving.refused(MODEL)
    users = [f"user-{number}" for number in range(8)]  # of whom a canary would have had some
    assert {version_of(serving.answer(serving.take([Question(MODEL, user, TEXT)]))) for user in users} == {good.id}


def test_the_same_files_undamaged_do_answer(
    store: ArtifactStore, good: Version, serving: Serving, tmp_path: Path
) -> None:
    files = shutil.copytree(good.folder, tmp_path / "files", ignore=shutil.ignore_patterns(MANIFEST))
    news = {"version": "undamaged", "manifest_sha256": store.put("versions/undamaged", files, {"version": "undamaged"})}
    assert serving.serve(good.champion().model_copy(update=news))
    assert version_of(serving.answer(serving.take([Question(MODEL, "ann", TEXT)]))) == "undamaged"
    assert serving.serve(good.champion())
