"""A canary answers its share of the users, always the same ones, and says so; the champion answers all others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.predictor.routing import takes_canary
from tests.unit.predictor_desk import House, Running, predictor
from tests.weights import MODEL

TEXT = "where is my parcel"
USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def running(house: House, tmp_path: Path) -> AsyncIterator[Running]:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion(), house.second.canary(0.5)) as started:
        yield started


async def asked(running: Running, user: str) -> tuple[str, str]:
    answer = (await running.post({"model": MODEL, "input": TEXT, "user": user})).json()
    return answer["version"], answer["output"]


async def test_each_user_is_served_by_one_of_the_two_and_stays_there(running: Running, house: House) -> None:
    served = {user: await asked(running, user) for user in USERS}
    versions = [version for version, _ in served.values()]
    assert 15 <= versions.count(house.second.id) <= 45
    assert {house.first.id, house.second.id} == set(versions)
    assert all(output == house.says(version, TEXT) for version, output in served.values())
    assert {user: await asked(running, user) for user in USERS} == served
    assert [event.version for event in running.log.events] == versions * 2


async def test_nobodys_predictions_are_drawn_one_by_one(running: Running, house: House) -> None:
    versions = [answer.json()["version"] for answer in await running.predict(*[TEXT] * 60)]
    assert 15 <= versions.count(house.second.id) <= 45


async def test_a_trial_that_ends_gives_all_users_back(running: Running, house: House) -> None:
    running.news.tell(house.second.canary(0.0))
    await running.until(lambda: not any(house.serving.is_on_trial(MODEL, user) for user in USERS))
    assert {(await asked(running, user))[0] for user in USERS} == {house.first.id}
    [task] = house.serving._tasks.values()
    assert task.versions == {house.first.id}


async def test_a_canary_that_is_promoted_serves_everybody(running: Running, house: House) -> None:
    running.news.tell(house.second.champion(), house.second.canary(0.0))
    await running.until(lambda: house.serving.champions[MODEL].version == house.second.id)
    assert {(await asked(running, user))[0] for user in USERS} == {house.second.id}
    [task] = house.serving._tasks.values()
    assert task.versions == {house.second.id}


async def test_a_canary_that_cannot_be_trusted_takes_nobody(house: House, tmp_path: Path) -> None:
    house.start_over()
    torn = house.second.canary(0.5).model_copy(update={"manifest_sha256": "0" * 64})
    async with predictor(house, tmp_path, house.first.champion(), torn) as running:
        assert {(await asked(running, user))[0] for user in USERS} == {house.first.id}


@given(st.text(min_size=1), st.text(min_size=1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_whom_a_small_canary_takes_a_larger_one_takes_too(canary: str, subject: str, one: float, other: float) -> None:
    few, many = sorted((one, other))
    assert takes_canary(canary, subject, many) or not takes_canary(canary, subject, few)
    assert not takes_canary(canary, subject, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5])
def test_the_draw_is_of_the_share_and_new_for_each_canary(share: float) -> None:
    many = [f"{number:032x}" for number in range(20_000)]
    taken = {subject for subject in many if takes_canary("v-1", subject, share)}
    again = {subject for subject in many if takes_canary("v-2", subject, share)}
    error = 4 * (share * (1 - share) / len(many)) ** 0.5
    assert abs(len(taken) / len(many) - share) < error
    assert abs(len(taken & again) / len(taken) - share) < 4 * (share / len(taken)) ** 0.5 + error
