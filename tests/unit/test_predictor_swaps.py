"""Swaps: while others compute, without a lost request, and never to a version whose files cannot be trusted."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import torch
from prometheus_client import REGISTRY
from safetensors.torch import load_file, save_file
from structlog.testing import capture_logs

from schemas.events import ModelStateChanged
from services.predictor import desk
from services.predictor.refusals import SWAP_REFUSED
from shared.errors import ArtifactError, UnavailableError
from shared.lm.classification import Classification
from shared.lm.task import Answer, Asked
from tests.unit.predictor_desk import TRUTH, House, Running, predictor
from tests.weights import MODEL, Version

TEXTS = list(TRUTH)
SILENCE = torch.tensor([torch.inf, 0, 0])  # of one label: the answers stay finite


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def running(house: House, tmp_path: Path) -> AsyncIterator[Running]:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion()) as started:
        yield started


def serves(house: House, version: Version) -> Callable[[], bool]:
    return lambda: house.serving.champions[MODEL].version == version.id


async def test_no_request_is_lost_in_swaps_and_each_answer_is_one_versions(running: Running, house: House) -> None:
    given: list[tuple[str, str, str]] = []
    over = asyncio.Event()

    async def app() -> None:
        while not over.is_set():
            for text, answer in zip(TEXTS, await running.predict(*TEXTS), strict=True):
                assert answer.status_code == 200
                given.append((text, answer.json()["version"], answer.json()["output"]))

    apps = [asyncio.create_task(app()) for _ in range(3)]
    for version in (house.second, house.first, house.second):  # back to an earlier one, too
        seen = len(given)
        await running.until(lambda seen=seen: len(given) > seen)  # type: ignore[misc]
        running.news.tell(version.champion())
        await running.until(serves(house, version))
        [after] = await running.predict(TEXTS[0])
        assert after.json()["version"] == version.id
    over.set()
    await asyncio.gather(*apps)
    assert {version for _, version, _ in given} == {house.first.id, house.second.id}
    assert all(output == house.says(version, text) for text, version, output in given)
    assert {(event.input, event.version, event.output) for event in running.log.events} == set(given)


async def test_a_switch_waits_for_no_batch_and_a_batch_ends_with_its_version(
    running: Running, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    [task] = house.serving._tasks.values()
    really, begun, go_on = task.answer_each, threading.Event(), threading.Event()

    def answer_each(asked: Sequence[Asked]) -> list[Answer | ArtifactError]:
        begun.set()
        assert go_on.wait(60)
        return really(asked)

    monkeypatch.setattr(task, "answer_each", answer_each)
    slow = asyncio.create_task(running.predict(*TEXTS[:1]))
    await running.until(begun.is_set)
    monkeypatch.undo()
    running.news.tell(house.second.champion())
    await running.until(serves(house, house.second))
    assert not slow.done()
    assert house.first.id in task.versions
    go_on.set()
    [before] = await slow
    assert (before.json()["version"], before.json()["output"]) == (house.first.id, TRUTH[TEXTS[0]])
    [after] = await running.predict(TEXTS[0])
    assert after.json()["version"] == house.second.id
    assert task.versions == {house.second.id}


async def test_news_told_twice_changes_nothing(running: Running, house: House) -> None:
    swaps = REGISTRY.get_sample_value("learnback_swap_seconds_count", {"model": MODEL})
    running.news.tell(house.first.champion(), house.first.champion())
    running.news.tell(house.second.champion())
    await running.until(serves(house, house.second))
    assert REGISTRY.get_sample_value("learnback_swap_seconds_count", {"model": MODEL}) == (swaps or 0) + 1
    shown = (await running.http.get("/metrics")).text
    assert f'version="{house.second.id}"' in shown
    assert f'version="{house.first.id}"' not in shown


# --- what cannot be trusted --------------------------------------------------------------------------------------


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        raw = bytearray((folder / name).read_bytes())
        raw[-1] ^= 1
        (folder / name).write_bytes(raw)

    return change


def tensors(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        save_file({key: change(value) for key, value in load_file(folder / name).items()}, folder / name)

    return rewrite


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


ALTERED: dict[str, Callable[[Path], object]] = {  # in the store, after it was announced
    "adapter-flipped": flip("adapter_model.safetensors"),
    "head-flipped": flip("head.safetensors"),
    "labels-flipped": flip("labels.json"),
    "manifest-flipped": flip("manifest.json"),
    "manifest-torn": text("manifest.json", '{"files": {'),
    "file-missing": lambda folder: (folder / "head.safetensors").unlink(),
    "manifest-missing": lambda folder: (folder / "manifest.json").unlink(),
    "all-missing": shutil.rmtree,
}
UNSOUND: dict[str, Callable[[Path], object]] = {  # with matching digests
    "head-nan": tensors("head.safetensors", lambda value: value * torch.nan),
    "label-silenced": tensors("head.safetensors", lambda value: value if value.dim() > 1 else value - SILENCE),
    "adapter-infinite": tensors("adapter_model.safetensors", lambda value: value + torch.inf),
    "adapter-overflows": tensors("adapter_model.safetensors", lambda value: torch.full_like(value, 1e30)),
    "adapter-of-other-shape": tensors("adapter_model.safetensors", lambda value: value.repeat(2, 2)),
    "head-of-other-shape": tensors("head.safetensors", lambda value: value[:-1]),
    "head-of-other-type": tensors("head.safetensors", lambda value: value.half()),
    "weights-torn": text("adapter_model.safetensors", "torn"),
    "labels-torn": text("labels.json", '["parcel'),
    "labels-twice": text("labels.json", json.dumps(["parcel"] * 3)),
    "no-labels-listed": lambda folder: (folder / "labels.json").unlink(),
    "no-lora": text("adapter_config.json", "3"),
    "other-layers": text(
        "adapter_config.json", '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["no.such.layer"]}'
    ),
}


def stored(house: House, name: str) -> ModelStateChanged:
    """A copy of the second version under another name, unsound or altered as the name says."""
    files = house.folder / name
    files.mkdir()
    for path in house.second.folder.iterdir():
        shutil.copy(path, files)
    if name in UNSOUND:
        UNSOUND[name](files)
    digest = house.store.put(f"versions/{name}", files, {"version": name})
    if name in ALTERED:
        ALTERED[name](house.store.root / "versions" / name)
    return house.second.champion().model_copy(update={"version": name, "manifest_sha256": digest})


async def refuses(running: Running, house: House, state: ModelStateChanged) -> None:
    """The state is refused and counted, the first version goes on, and the next good one is taken."""

    def count() -> float:
        return REGISTRY.get_sample_value("learnback_swap_failed_total", {"model": MODEL}) or 0

    before = count()
    SWAP_REFUSED.clear()  # other tests' predictors ended with what they had refused
    with capture_logs() as logs:
        running.news.tell(state)
        await running.until(lambda: count() > before)
    [when] = standing(state)
    assert abs(when - time.time()) < 60
    [told] = [entry for entry in logs if entry["event"] == "swap_refused"]
    assert (told["model"], told["version"], told["log_level"]) == (MODEL, state.version, "error")
    for version, news in ((house.first, []), (house.second, [house.second.champion()])):
        running.news.tell(*news)
        await running.until(serves(house, version))
        answers = [answer.json() for answer in await running.predict(*TEXTS)]
        assert {answer["version"] for answer in answers} == {version.id}
        assert [answer["output"] for answer in answers] == [house.says(version.id, text) for text in TEXTS]
    assert standing(state) == []
    [classifier] = house.serving._tasks.values()
    assert isinstance(classifier, Classification)
    assert classifier.versions == classifier.encoder.attached == {house.second.id}  # nothing of the refused one is kept


async def test_a_swap_whose_store_is_away_comes_when_it_is_back(
    running: Running, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        tries = 0

        def get(self, *_: object) -> None:
            self.tries += 1
            raise UnavailableError("The artifact store does not answer.")

    store, away = house.serving._artifacts, Away()
    monkeypatch.setattr(desk, "KEEP_S", 0.05)
    monkeypatch.setattr(house.serving, "_artifacts", away)
    running.news.tell(house.second.champion())
    await running.until(lambda: away.tries > 2)
    assert {answer.json()["version"] for answer in await running.predict(*TEXTS)} == {house.first.id}
    monkeypatch.setattr(house.serving, "_artifacts", store)
    await running.until(serves(house, house.second))
    assert (running.desk.postponed, house.serving.refused(MODEL)) == ({}, None)


def standing(state: ModelStateChanged) -> list[float]:
    """What the metrics say of a refused version: when, as long as it stands."""
    samples = [one for metric in REGISTRY.collect() for one in metric.samples if one.name == SWAP_REFUSED._name]
    return [one.value for one in samples if one.labels["version"] == state.version and one.labels["reason"]]


@pytest.mark.parametrize("name", [*ALTERED, *UNSOUND])
async def test_a_version_that_cannot_be_trusted_never_serves(running: Running, house: House, name: str) -> None:
    await refuses(running, house, stored(house, name))


@pytest.mark.parametrize("wrong", ["manifest_sha256", "version", "base"])
async def test_news_that_do_not_fit_the_store_are_refused(running: Running, house: House, wrong: str) -> None:
    values = {"manifest_sha256": "0" * 64, "version": "v-nowhere", "base": str(house.folder)}
    await refuses(running, house, house.second.champion().model_copy(update={wrong: values[wrong]}))


async def test_a_first_champion_that_is_refused_leaves_its_model_unknown(running: Running, house: House) -> None:
    torn = house.second.champion("newcomer").model_copy(update={"manifest_sha256": "0" * 64})
    running.news.tell(torn, house.second.champion())
    await running.until(serves(house, house.second))
    [unknown] = await running.predict(TEXTS[0], model="newcomer")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_model")
    assert (await running.http.get("/readyz")).status_code == 200
