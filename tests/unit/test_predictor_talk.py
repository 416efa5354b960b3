"""Answers of text while they are made: streams, limits and OpenAI's shape; durable before they are said to be over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from schemas.events import ModelStateChanged
from services.predictor.requests import PredictBody
from shared.artifacts import ArtifactStore
from shared.lm.causal import Causal
from shared.lm.decoding import Decoding
from shared.text import short_hash
from tests.unit.predictor_desk import DRAWS, House, Running, Watched, predictor
from tests.weights import MODEL, ROWS, Version, make_version

BASE, TALKER = "SmolLM2-135M-Instruct", "helper"
ASKED = "Name the capital of France."
LIMIT = {"max_tokens": 6}


def talking(store: ArtifactStore, folder: Path) -> tuple[Version, Version]:
    """Two versions of one language model, which differ in what they say."""
    causal, found = Causal(BASE), []
    causal.create("made", 4, 30)
    for seed, scale in ((1, 40), (2, 8)):
        torch.manual_seed(seed)
        files = folder / str(seed)
        files.mkdir()
        causal.save(
            "made", {name: torch.randn_like(one) / scale for name, one in causal.weights("made").items()}, files
        )
        version = short_hash(f"talks {seed}")
        found.append(Version(version, store.put(f"versions/{version}", files, {"version": version}), files, ()))
    return found[0], found[1]


def champion(version: Version) -> ModelStateChanged:
    return version.champion(TALKER).model_copy(update={"task": "generation", "base": BASE})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("house")
    store = ArtifactStore(f"file://{folder}/artifacts")
    torch.set_num_threads(1)
    return House(folder, store, *talking(store, folder), Watched(store))


@pytest.fixture
async def running(house: House, tmp_path: Path) -> AsyncIterator[Running]:
    classifier = make_version(house.store, ROWS)
    async with predictor(house, tmp_path, champion(house.first), classifier.champion()) as started:
        yield started


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """What server-sent events said."""
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [(one["event"], json.loads(one["data"])) for one in found]


async def chat(running: Running, **fields: Any) -> Any:
    headers = {"Authorization": f"Bearer {running.ingest}"}
    body = {"model": TALKER, "messages": [{"role": "user", "content": ASKED}], **LIMIT, **fields}
    return await running.http.post("/v1/chat/completions", json=body, headers=headers)


async def test_a_stream_tells_piece_by_piece_what_is_recorded_at_its_end(running: Running, house: House) -> None:
    whole = (await running.post({"model": TALKER, "input": ASKED, **LIMIT})).json()
    answer = await running.post({"model": TALKER, "input": ASKED, "stream": True, "prediction_id": "mine", **LIMIT})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, (last, told) = events(answer.text)
    assert (last, told["prediction_id"], told["version"]) == ("answer", "mine", house.first.id)
    assert {name for name, _ in pieces} == {"text"}
    assert len(pieces) > 1
    assert "".join(piece["text"] for _, piece in pieces) == told["output"] == whole["output"]
    assert told["finish"] == "length"
    event = running.log.events[-1]
    assert (event.prediction_id, event.output, event.version) == ("mine", told["output"], house.first.id)


async def test_it_ends_before_a_text_that_the_app_names(running: Running) -> None:
    whole = (await running.post({"model": TALKER, "input": ASKED, **LIMIT})).json()["output"]
    stop = whole[len(whole) // 2 :][:3]
    told = (await running.post({"model": TALKER, "input": ASKED, "stop": [stop], **LIMIT})).json()
    assert (told["output"], told["finish"]) == (whole[: whole.index(stop)] or " ", "stop")
    assert running.log.events[-1].output == told["output"]


async def test_what_is_not_durable_is_not_said_to_be_over(running: Running) -> None:
    running.log.ready = False
    answer = await running.post({"model": TALKER, "input": ASKED, "stream": True, **LIMIT})
    assert [name for name, _ in events(answer.text)][-1] == "problem"
    streamed = (await chat(running, stream=True)).text
    assert "[DONE]" not in streamed
    assert json.loads(streamed.strip().split("data: ")[-1])["error"]["type"] == "server_error"
    assert running.log.events == []


async def test_a_streamed_answer_is_one_versions_even_across_a_swap(running: Running, house: House) -> None:
    body = PredictBody(model=TALKER, input=ASKED, max_tokens=12)
    alone = (await running.post({"model": TALKER, "input": ASKED, "max_tokens": 12})).json()
    asked = running.desk.settle(body, running.desk.keyring.check(running.ingest, "ingest"))
    heard = []
    async for told in running.desk.stream(asked):
        heard.append(told.answer)
        if house.serving.champions[TALKER].version == house.first.id:
            running.news.tell(champion(house.second))
            await running.until(lambda: house.serving.champions[TALKER].version == house.second.id)
    assert {one.version for one in heard} == {house.first.id}
    assert heard[-1].output == alone["output"]
    after = (await running.post({"model": TALKER, "input": ASKED, "max_tokens": 12})).json()
    assert after["version"] == house.second.id
    assert after["output"] != alone["output"]


async def test_labels_are_answered_between_two_tokens(running: Running) -> None:
    body = PredictBody(model=TALKER, input=ASKED, max_tokens=20)
    stream = running.desk.stream(running.desk.settle(body, running.desk.keyring.check(running.ingest, "ingest")))
    assert not (await anext(stream)).finish
    [label] = await running.predict("where is my parcel", model=MODEL)
    assert label.json()["output"] == "parcel"
    assert running.desk.talker._open  # the text is not at its end
    await stream.aclose()
    await running.until(lambda: not running.desk.talker._open)  # who hung up costs nothing more


async def ask(running: Running, count: int, tokens: int) -> list[asyncio.Task[httpx.Response]]:
    """Ask so often while the thread is busy, and return when all wait."""
    wanted = running.chance.drawn + DRAWS * count
    body = {"model": TALKER, "input": ASKED, "max_tokens": tokens}
    asked = [asyncio.create_task(running.post(body)) for _ in range(count)]
    await running.until(lambda: running.chance.drawn == wanted)
    return asked


async def test_answers_that_are_made_at_the_same_time_share_each_step(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = (await running.post({"model": TALKER, "input": ASKED, "max_tokens": 20})).json()["output"]
    sizes: list[int] = []
    step = Decoding.step

    def counted(decoding: Decoding) -> None:
        sizes.append(sum(len(rows.speeches) for rows in decoding._groups))
        step(decoding)

    monkeypatch.setattr(Decoding, "step", counted)
    async with running.busy():
        first, *others = await ask(running, 4, tokens=20)
    await running.until(lambda: len(sizes) > 1)
    for one in others:
        one.cancel()
    assert (await first).json()["output"] == alone
    assert (sizes[0], sizes[-1]) == (4, 1)  # who hung up costs nothing more


async def test_a_step_that_fails_is_told_to_all_whom_it_concerns_and_the_next_is_answered(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Decoding, "step", lambda _: (_ for _ in ()).throw(RuntimeError("the kernel did not like it")))
        async with running.busy():
            asked = await ask(running, 2, tokens=6)
        assert [one.status_code for one in await asyncio.gather(*asked)] == [500, 500]
    assert not running.desk.talker._open
    assert (await running.post({"model": TALKER, "input": ASKED, **LIMIT})).json()["finish"] == "length"


# --- OpenAI's shape ----------------------------------------------------------------------------------------------


async def test_a_client_of_openais_gets_an_answer_and_its_prediction(running: Running, house: House) -> None:
    plain = (await running.post({"model": TALKER, "input": ASKED, **LIMIT})).json()
    told = (await chat(running, user="ann", metadata={"lang": "en"}, temperature=0.7)).json()
    [choice] = told["choices"]
    assert (told["object"], told["model"], choice["index"]) == ("chat.completion", TALKER, 0)
    assert choice["message"] == {"role": "assistant", "content": plain["output"]}
    assert choice["finish_reason"] == "length"
    event = running.log.events[-1]
    assert (event.prediction_id, event.input, event.tags) == (told["id"], ASKED, {"lang": "en"})
    assert told["learnback"] == {"version": house.first.id, "solicit": event.solicit}
    assert event.user_key


async def test_its_chunks_are_openais_and_end_with_done(running: Running) -> None:
    streamed = (await chat(running, stream=True)).text
    *chunks, done = [line.removeprefix("data: ") for line in streamed.strip().split("\n\n")]
    assert done == "[DONE]"
    first, *others = [json.loads(chunk) for chunk in chunks]
    assert {one["object"] for one in (first, *others)} == {"chat.completion.chunk"}
    assert {one["id"] for one in (first, *others)} == {running.log.events[-1].prediction_id}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [one["choices"][0]["finish_reason"] for one in others][-2:] == [None, "length"]
    said = "".join(one["choices"][0]["delta"].get("content", "") for one in others)
    assert said == running.log.events[-1].output


async def test_a_longer_conversation_is_one_input(running: Running) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", ASKED)]
    parts = [{"type": "text", "text": ASKED}]
    await chat(running, messages=[{"role": role, "content": text} for role, text in turns])
    await chat(running, messages=[{"role": "user", "content": parts}])
    assert [event.input for event in running.log.events] == [
        f"System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: {ASKED}",
        ASKED,
    ]


async def test_a_classifiers_label_is_a_message_too(running: Running) -> None:
    told = (await chat(running, model=MODEL, messages=[{"role": "user", "content": "where is my parcel"}])).json()
    assert told["choices"][0]["message"]["content"] == "parcel"


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"model": "nobody"}, 404, "not_found_error"),
        ({"messages": []}, 422, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": ""}]}, 422, "invalid_request_error"),
        ({"n": 2}, 422, "invalid_request_error"),
        ({"tools": []}, 422, "invalid_request_error"),
    ],
)
async def test_refusals_have_openais_shape(running: Running, fields: dict[str, Any], status: int, kind: str) -> None:
    for stream in (False, True):
        answer = await chat(running, stream=stream, **fields)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    unknown = await running.http.post("/v1/chat/completions", json={}, headers={"Authorization": "Bearer lb_no"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (401, "authentication_error")
    assert running.log.events == []


async def test_the_documentation_knows_what_is_said_of_a_refusal(running: Running) -> None:
    document = (await running.http.get("/openapi.json")).json()
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    refused = document["components"]["schemas"]["ChatRefusal"]
    for answer in (await chat(running, messages=[]), await chat(running, model="nobody")):
        kind = answer.headers["content-type"].partition(";")[0]
        [(documented, content)] = responses[str(answer.status_code)]["content"].items()
        assert (kind, content["schema"]) == (documented, {"$ref": "#/components/schemas/ChatRefusal"})
        assert answer.json().keys() == set(refused["properties"])


async def test_the_documentation_knows_that_an_answer_may_be_a_stream(running: Running) -> None:
    paths = (await running.http.get("/openapi.json")).json()["paths"]
    for path in ("/v1/predict", "/v1/chat/completions"):
        content = paths[path]["post"]["responses"]["200"]["content"]
        assert content.keys() == {"application/json", "text/event-stream"}
