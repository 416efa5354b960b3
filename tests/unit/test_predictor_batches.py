"""Micro-batches: who waits at the same moment shares a forward, and everyone gets the own answer or the own refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.policy import Policy, PolicyFile, Serving
from tests.unit.predictor_desk import TRUTH, House, Running, predictor
from tests.weights import MODEL, ROWS, Version, make_version

TEXTS = list(TRUTH)
OTHER = "other-intent"
POLICIES = PolicyFile(models={OTHER: Policy(serving=Serving(top_k=2))})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def other(house: House) -> Version:
    return make_version(house.store, ROWS, model=OTHER)


@pytest.fixture
async def running(house: House, other: Version, tmp_path: Path) -> AsyncIterator[Running]:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion(), other.champion(OTHER), policies=POLICIES) as started:
        yield started


async def test_inputs_that_wait_share_forwards_and_each_gets_its_own_answer(running: Running, house: House) -> None:
    [alone] = await running.predict(TEXTS[0])
    house.serving.batches.clear()
    inputs = TEXTS * 4
    async with running.busy():
        asked = await running.queue(*inputs)
    answers = [answer.json() for answer in await asyncio.gather(*asked)]
    assert [answer["output"] for answer in answers] == [TRUTH[text] for text in inputs]
    assert answers[0]["scores"][0]["score"] == pytest.approx(alone.json()["scores"][0]["score"], abs=0.01)
    assert len(house.serving.batches) <= 3  # what the loop held in hand, 32, and the rest
    assert max(map(len, house.serving.batches)) == 32
    assert sum(map(len, house.serving.batches)) == len(inputs)
    logged = {event.prediction_id: (event.input, event.output) for event in running.log.events[1:]}
    assert logged == {
        answer["prediction_id"]: (text, TRUTH[text]) for answer, text in zip(answers, inputs, strict=True)
    }


async def test_nobody_waits_for_company(running: Running, house: House) -> None:
    assert [answer.status_code for answer in await running.predict(TEXTS[0])] == [200]
    assert house.serving.batches == [[TEXTS[0]]]


async def test_scores_are_the_policys_top_k_in_order(running: Running) -> None:
    for model, labels in ((MODEL, 3), (OTHER, 2)):
        for answer in await running.predict(*TEXTS, model=model):
            scores = [score["score"] for score in answer.json()["scores"]]
            assert len(scores) == len({score["label"] for score in answer.json()["scores"]}) == labels
            assert scores == sorted(scores, reverse=True)
            assert 0 <= min(scores) <= sum(scores) <= 1 + 1e-6
            assert answer.json()["output"] == answer.json()["scores"][0]["label"]


async def test_a_batch_that_fails_fails_only_its_callers(running: Running, house: House) -> None:
    house.serving.broken.add(OTHER)
    async with running.busy():
        fine, failed, unknown = [await running.queue(*TEXTS[:4], model=model) for model in (MODEL, OTHER, "nobody")]
    assert [(await asked).status_code for asked in fine] == [200] * 4
    for asked, told in ((failed, (500, "internal_error")), (unknown, (404, "unknown_model"))):
        answers = await asyncio.gather(*asked)
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {told}
        assert all("kernel" not in answer.text for answer in answers)
    assert [event.input for event in running.log.events] == TEXTS[:4]
    house.serving.broken.clear()
    assert [answer.status_code for answer in await running.predict(*TEXTS, model=OTHER)] == [200] * len(TEXTS)


async def test_beyond_the_queue_it_says_try_again(house: House, tmp_path: Path) -> None:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion(), max_queue=2) as running:
        async with running.busy():
            in_hand = await running.queue(TEXTS[0])
            waiting = await running.queue(*TEXTS[1:3])
            [late] = await running.predict(TEXTS[3])
            assert (late.status_code, late.json()["code"], late.json()["retryable"]) == (503, "unavailable", True)
            assert int(late.headers["retry-after"]) >= 1
        assert [(await asked).status_code for asked in in_hand + waiting] == [200] * 3
        assert [answer.status_code for answer in await running.predict(TEXTS[3])] == [200]
        assert [event.input for event in running.log.events] == TEXTS[:4]


async def test_who_hangs_up_breaks_nobody_elses_answer(running: Running) -> None:
    async with running.busy():
        asked = await running.queue(*TEXTS)
        for gone in asked[::2]:
            gone.cancel()
        await asyncio.wait(asked[::2])
    answers = await asyncio.gather(*asked[1::2])
    assert [answer.json()["output"] for answer in answers] == [TRUTH[text] for text in TEXTS[1::2]]
    assert [answer.status_code for answer in await running.predict(*TEXTS)] == [200] * len(TEXTS)
