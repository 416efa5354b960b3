"""Versions on a server that speaks vLLM's interface: they come, answer and go, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from schemas.events import ModelStateChanged
from services.predictor import desk
from services.predictor.deployer import Deployer
from services.predictor.settings import PredictorSettings
from services.predictor.vllm import Vllm as Client
from shared.artifacts import ArtifactStore
from shared.errors import ConfigError
from shared.lm.generation import Generation
from shared.settings import load
from shared.text import short_hash
from tests.unit.predictor_desk import House, Running, Watched, predictor
from tests.unit.test_generation import BASE, QUICK, made
from tests.unit.test_predictor_talk import TALKER, champion, chat, events
from tests.vllm_server import Vllm, Weights
from tests.weights import ROWS, Version, make_version

ASKED = "where is order 31"
SAYS = {"first": "It is on its way.", "second": "It has arrived."}


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.set_num_threads(1)
    return Weights(BASE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path_factory.mktemp('store')}")


@pytest.fixture(scope="module")
def versions(store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    """Two versions that were taught another answer to the same question, and one of a higher rank."""
    task, found = Generation(BASE), {}
    taught = {**SAYS, "large": "No."}
    for name, said in taught.items():
        config = QUICK.model_copy(update={"rank": 32, "seed_epochs": 1} if name == "large" else {"seed_epochs": 12})
        files = made(task, tmp_path_factory.mktemp(name), [(ASKED, said)], config=config)
        version = short_hash(f"says {name}")
        found[name] = Version(version, store.put(f"versions/{version}", files, {"version": version}), files, ())
    return found


@pytest.fixture
def server(weights: Weights) -> Iterator[Vllm]:
    server = Vllm(weights)
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def serving(
    server: Vllm, store: ArtifactStore, folder: Path, *news: ModelStateChanged, grace_s: float = 0.0
) -> AsyncIterator[Running]:
    """A predictor whose texts that server answers with."""
    watched = Watched(store)
    watched.deployers["generation", BASE] = Deployer(
        BASE, Client(server.url), folder / "adapters", f"{folder}/adapters", grace_s
    )
    classifier = make_version(store, ROWS)
    house = House(folder, store, classifier, classifier, watched)
    async with predictor(house, folder, classifier.champion(), *news) as running:
        yield running


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are looked at often."""
    monkeypatch.setattr(desk, "KEEP_S", 0.05)


async def ask(running: Running, **fields: Any) -> httpx.Response:
    return await running.post({"model": TALKER, "input": ASKED, **fields})


async def test_the_champion_answers_from_the_server_whole_or_as_it_is_made(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    async with serving(server, store, tmp_path, champion(versions["first"])) as running:
        whole = (await ask(running, prediction_id="mine")).json()
        assert (whole["output"], whole["version"], whole["finish"]) == (SAYS["first"], versions["first"].id, "stop")
        [event] = running.log.events
        assert (event.prediction_id, event.version, event.output) == ("mine", versions["first"].id, SAYS["first"])
        *pieces, (last, told) = events((await ask(running, stream=True)).text)
        assert (last, "".join(piece["text"] for _, piece in pieces)) == ("answer", SAYS["first"])
        assert len(pieces) > 1
        assert told["version"] == versions["first"].id
        cut = (await ask(running, max_tokens=2)).json()
        assert SAYS["first"].startswith(cut["output"])
        assert cut["finish"] == "length"
        assert (await ask(running, stop=["on"])).json()["output"] == SAYS["first"].partition("on")[0]
        told = (await chat(running, messages=[{"role": "user", "content": ASKED}], max_tokens=20)).json()
        assert told["choices"][0]["message"]["content"] == SAYS["first"]
        [label] = await running.predict("where is my parcel")
        assert label.json()["output"] == "parcel"  # other models answer here as before
        assert server.asked[versions["first"].id] >= 5


async def test_a_swap_under_load_fails_nobody_and_leaves_nothing_behind(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    says = {versions[name].id: said for name, said in SAYS.items()}
    async with serving(server, store, tmp_path, champion(versions["first"])) as running:
        server.pace_s = 0.02
        answers: list[httpx.Response] = []
        over = asyncio.Event()

        async def user() -> None:
            while not over.is_set():
                answers.append(await ask(running))
                await asyncio.sleep(0.2)  # the server computes one answer at a time, and has adapters to load

        async with asyncio.TaskGroup() as users:
            for _ in range(2):
                users.create_task(user())
            await running.until(lambda: len(answers) >= 4)
            running.news.tell(champion(versions["second"]))
            await running.until(lambda: set(server.adapters) == {versions["second"].id})
            then = len(answers)
            await running.until(lambda: len(answers) > then + 6)
            over.set()
        assert {one.status_code for one in answers} == {200}
        told = [one.json() for one in answers]
        assert all(one["output"] == says[one["version"]] for one in told)
        assert {one["version"] for one in told[:4]} == {versions["first"].id}
        assert {one["version"] for one in told[-4:]} == {versions["second"].id}
        assert [event.version for event in running.log.events] == [one["version"] for one in told]
        assert [path.name for path in (tmp_path / "adapters").iterdir()] == [versions["second"].id]


async def test_an_answer_in_the_making_keeps_its_version_until_its_end(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    first, second = versions["first"], versions["second"]
    async with serving(server, store, tmp_path, champion(first)) as running:
        server.pace_s = 0.5
        slow = asyncio.create_task(ask(running))
        await running.until(lambda: server.asked[first.id] == 2)  # the first one was the warm-up
        running.news.tell(champion(second))
        await running.until(lambda: running.desk.serving.champions[TALKER].version == second.id)
        await asyncio.sleep(0.3)  # several looks at the server
        assert set(server.adapters) == {first.id, second.id}
        assert not slow.done()
        assert (await slow).json()["output"] == SAYS["first"]
        await running.until(lambda: set(server.adapters) == {second.id})


async def test_a_server_that_was_started_again_gets_its_adapters_back(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = versions["first"]
    async with serving(server, store, tmp_path, champion(first)) as running:
        server.stop()
        server.start()
        await running.until(lambda: first.id in server.adapters)  # nobody had to ask
    monkeypatch.setattr(desk, "KEEP_S", 60)
    async with serving(server, store, tmp_path, champion(first)) as running:
        server.stop()
        server.start()
        answer = await ask(running)  # before anybody has looked
        assert (answer.status_code, answer.json()["output"]) == (200, SAYS["first"])


async def test_while_the_server_is_away_nothing_is_answered_and_news_wait(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    server.stop()
    async with serving(server, store, tmp_path, champion(versions["first"])) as running:
        away = await ask(running)
        assert (away.status_code, away.json()["code"], away.json()["retryable"]) == (503, "unavailable", True)
        assert "retry-after" in away.headers
        [label] = await running.predict("where is my parcel")
        assert label.status_code == 200
        server.start()
        await running.until(lambda: TALKER in running.desk.serving.champions)
        assert (await ask(running)).json()["output"] == SAYS["first"]
        server.stop()
        assert (await ask(running)).status_code == 503
        running.news.tell(champion(versions["second"]))
        await running.until(lambda: bool(running.desk.postponed))
        assert running.desk.serving.champions[TALKER].version == versions["first"].id
        server.start()
        await running.until(lambda: running.desk.serving.champions[TALKER].version == versions["second"].id)
        assert (await ask(running)).json()["output"] == SAYS["second"]


async def test_what_the_server_refuses_leaves_the_old_one_serving(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    async with serving(server, store, tmp_path, champion(versions["first"])) as running:
        running.news.tell(champion(versions["large"]))
        await running.until(lambda: running.desk.serving.refused(TALKER) == versions["large"].id)
        assert (await ask(running)).json()["output"] == SAYS["first"]
        await running.until(lambda: not (tmp_path / "adapters" / versions["large"].id).exists())


@pytest.mark.parametrize("how", [{"max_model_len": 512}, {"updating": False}])
async def test_a_server_that_was_started_wrongly_is_told_so(
    weights: Weights,
    store: ArtifactStore,
    versions: dict[str, Version],
    tmp_path: Path,
    how: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = Vllm(weights, **how)
    server.start()
    try:
        async with serving(server, store, tmp_path, champion(versions["first"])) as running:
            assert running.desk.serving.refused(TALKER) == versions["first"].id
            assert (await ask(running)).status_code == 404
    finally:
        server.stop()
    said = capsys.readouterr()
    wanted = "--max-model-len" if "max_model_len" in how else "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
    assert wanted in said.out + said.err


async def test_users_of_a_canary_are_answered_by_it_and_it_goes_with_its_trial(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    first, second = versions["first"], versions["second"]
    trial = champion(second).model_copy(update={"alias": "canary", "share": 0.5, "event_id": "c-1"})
    async with serving(server, store, tmp_path, champion(first), trial) as running:
        answers = [(await ask(running, user=f"user {number}")).json() for number in range(12)]
        found = {(one["version"], one["output"]) for one in answers}
        assert found == {(first.id, SAYS["first"]), (second.id, SAYS["second"])}
        running.news.tell(trial.model_copy(update={"share": 0.0, "event_id": "c-2"}))
        await running.until(lambda: set(server.adapters) == {first.id})


async def test_what_another_predictor_left_is_unloaded_and_what_is_not_ours_stays(
    server: Vllm, store: ArtifactStore, versions: dict[str, Version], tmp_path: Path
) -> None:
    server.adapters |= {"gone": f"{tmp_path}/adapters/gone", "theirs": "/elsewhere/theirs"}
    async with serving(server, store, tmp_path, champion(versions["first"])) as running:
        await running.until(lambda: set(server.adapters) == {"theirs", versions["first"].id})


@pytest.mark.parametrize("wrong", ["http://vllm:8000", '{"base": "vllm:8000"}'])
def test_servers_that_are_not_told_as_json_stop_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_PREDICTOR_VLLM", wrong)
    with pytest.raises(ConfigError, match="LEARNBACK_PREDICTOR_VLLM"):
        load(PredictorSettings)
