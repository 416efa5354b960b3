"""The predictor's HTTP: what it answers is on the log as it was answered; what it refuses is nowhere."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.identity import user_key
from shared.policy import Policy, PolicyFile, Serving
from tests.unit.predictor_desk import DRAWS, SECRET, TRUTH, House, Running, predictor
from tests.weights import BASE, MODEL

TEXT = "where is my parcel"
BODY = {"model": MODEL, "input": TEXT}
BOTH = [(solicited, audited) for solicited in (True, False) for audited in (True, False)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def running(house: House, tmp_path: Path) -> AsyncIterator[Running]:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion()) as started:
        yield started


# --- what is answered --------------------------------------------------------------------------------------------


async def test_an_answer_is_on_the_log_as_it_was_given(running: Running, house: House) -> None:
    body = {**BODY, "prediction_id": "mine-1", "user": "ann@example.org", "tags": {"lang": "en"}}
    answer = await running.post(body)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["prediction_id"], told["model"], told["version"]) == ("mine-1", MODEL, house.first.id)
    assert told["output"] == told["scores"][0]["label"] == TRUTH[TEXT]
    [event] = running.log.events
    assert told.pop("finish") == "stop"
    assert event.model_dump(mode="json", include=set(told)) == told
    assert (event.input, event.app, event.source, event.tags) == (TEXT, "shop", "predictor", {"lang": "en"})
    assert event.user_key == user_key(SECRET, "shop", "ann@example.org")
    assert "ann@" not in event.model_dump_json() + answer.text


async def test_what_the_app_leaves_out_is_made_or_absent(running: Running) -> None:
    first, second = await running.predict(TEXT, TEXT)
    ids = [answer.json()["prediction_id"] for answer in (first, second)]
    assert len(set(ids)) == 2
    assert sorted(ids) == sorted(event.prediction_id for event in running.log.events)
    assert {(event.user_key, *event.tags) for event in running.log.events} == {(None,)}
    assert len({event.event_id for event in running.log.events}) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1))
async def test_any_text_is_answered(running: Running, text: str) -> None:
    answer = await running.post({**BODY, "input": text})
    assert answer.status_code == 200
    assert running.log.events[-1].input == text


async def test_the_longest_text_is_answered(running: Running) -> None:
    assert (await running.post({**BODY, "input": "parcel 😀 " * 1111})).status_code == 200


# --- whom it asks ------------------------------------------------------------------------------------------------


def asking(rate: float, audits: float = 0.01) -> PolicyFile:
    return PolicyFile(models={MODEL: Policy(serving=Serving(solicit_rate=rate, audit_rate=audits))})


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
async def test_users_are_asked_at_the_policys_rate(house: House, tmp_path: Path, rate: float) -> None:
    house.start_over()
    chance, number = random.Random(7), 400 if 0 < rate < 1 else 40
    async with predictor(house, tmp_path, house.first.champion(), policies=asking(rate), seed=7) as running:
        answers = await running.predict(*[TEXT] * number)
    asked = {answer.json()["prediction_id"]: answer.json()["solicit"] for answer in answers}
    draws = [chance.random() for _ in range(DRAWS * number)]
    assert sum(asked.values()) == sum(draw < rate for draw in draws[::DRAWS])
    assert abs(sum(asked.values()) - rate * number) <= 4 * (number * rate * (1 - rate)) ** 0.5
    assert {event.prediction_id: event.solicit for event in running.log.events} == asked
    assert {event.solicit_rate for event in running.log.events} == {rate}


@pytest.mark.parametrize(("rate", "said"), [(0.0, None), (0.3, 0.3), (1.0, 1.0)])
async def test_reviewers_get_their_share_and_who_asked_does_not_hear_of_it(
    house: House, tmp_path: Path, rate: float, said: float | None
) -> None:
    house.start_over()
    number = 400 if rate == 0.3 else 20
    async with predictor(house, tmp_path, house.first.champion(), policies=asking(0.5, rate), seed=7) as running:
        answers = await running.predict(*[TEXT] * number)
    events = running.log.events
    assert not any("audit" in answer.text for answer in answers)
    assert {(event.audit is None, event.audit_rate) for event in events} == {(not rate, said)}
    both = {one: sum((event.solicit, bool(event.audit)) == one for event in events) for one in BOTH}
    expected = {one: number * 0.5 * (rate if one[1] else 1 - rate) for one in BOTH}
    assert all(abs(both[one] - expected[one]) <= 4 * expected[one] ** 0.5 for one in BOTH), "drawn apart"


async def test_whom_to_ask_is_drawn_before_the_answer_is_known(running: Running, house: House) -> None:
    async with running.busy():
        [asked] = await running.queue(TEXT)
        assert house.serving.batches == []
    assert (await asked).status_code == 200
    assert running.chance.drawn == DRAWS


# --- what it shows -----------------------------------------------------------------------------------------------


async def test_it_is_ready_once_the_models_are_known_and_while_the_log_takes_events(
    house: House, tmp_path: Path
) -> None:
    house.start_over()
    async with predictor(house, tmp_path, silent=True) as running:
        assert (await running.http.get("/livez")).status_code == 200
        assert (await running.http.get("/readyz")).status_code == 503
        answer = await running.post(BODY)  # it may well be a model that serves: not «unknown»
        assert (answer.status_code, answer.json()["retryable"], running.log.events) == (503, True, [])
        running.news.tell()
        await running.until(lambda: running.desk.followed)
        assert (await running.http.get("/readyz")).status_code == 200
        running.log.ready = False
        assert (await running.http.get("/readyz")).status_code == 503


async def test_what_is_not_durable_is_not_answered(running: Running) -> None:
    running.log.ready = False
    answer = await running.post(BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "output" not in answer.json()


async def test_models_and_metrics(running: Running, house: House) -> None:
    key = {"Authorization": f"Bearer {running.ingest}"}
    models = (await running.http.get("/v1/models", headers=key)).json()
    assert models == [
        {"model": MODEL, "task": "classification", "base": BASE, "version": house.first.id, "refused": None}
    ]
    await running.predict(TEXT)
    metrics = (await running.http.get("/metrics")).text
    assert f'learnback_adapter_info{{model="{MODEL}",version="{house.first.id}"}} 1.0' in metrics
    assert f'learnback_predict_seconds_count{{model="{MODEL}"}}' in metrics


async def test_the_documentation_knows_bodies_answers_and_problems(running: Running) -> None:
    assert (await running.http.get("/docs")).status_code == 200
    document = (await running.http.get("/openapi.json")).json()
    operation, components = document["paths"]["/v1/predict"]["post"], document["components"]["schemas"]
    assert set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        *("model", "input", "prediction_id", "user", "tags", "stream", "max_tokens", "stop")
    }
    for status in ("400", "401", "403", "404", "413", "415", "422", "503"):
        assert operation["responses"][status]["content"].keys() == {"application/problem+json"}
    assert {"Problem", "PredictAnswer", "ServedModel", "LabelScore"} <= components.keys()
    for reference in set(references(document)):
        assert reference.removeprefix("#/components/schemas/") in components, reference


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == "$ref")
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(inner)
