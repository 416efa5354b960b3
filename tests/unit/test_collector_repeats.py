"""Repeats and lists: an id counts once, another content under it is refused, one bad item takes no other along."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from schemas.events import FeedbackReceived
from services.collector.app import create_app
from services.collector.window import Window
from shared.envelope import Sealed
from shared.http.validation import MAX_ITEM
from shared.ids import namespaced
from shared.log import Kept
from tests.unit.collector_desk import LISTS, NOW, PREDICTION, ROUTES, THUMBS, Desk, Memory, refused

FIRST = {**THUMBS, "event_id": "e1"}
OTHER = {**FIRST, "value": "down"}
WIDE = "\N{GRINNING FACE}" * 9_000  # 36 kB in UTF-8: one text fits, two do not


def stored(desk: Desk) -> list[str]:
    return [event.event_id.partition(".")[2] for event in desk.log.events]


# --- the same id again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_a_repeat_gets_the_same_receipt_and_adds_nothing(desk: Desk, route: str) -> None:
    body = {**ROUTES[route], "event_id": "e1"}
    first, again = desk.post(route, body), desk.post(route, body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    assert stored(desk) == ["e1"]


@pytest.mark.parametrize("route", LISTS)
def test_the_same_id_with_other_content_is_a_conflict(desk: Desk, route: str) -> None:
    body = {**ROUTES[route], "event_id": "e1"}
    assert desk.post(route, body).status_code == 202
    desk.log.events.clear()
    refused(desk, desk.post(route, {**body, "prediction_id": "p2"}), 409, "id_conflict", "event_id")
    refused(desk, desk.post(route, [{**body, "prediction_id": "p2"}]), 409, "id_conflict", "event_id", 0)
    assert 'outcome="refused",reason="id_conflict"' in desk.get("/metrics").text


def test_two_apps_may_use_the_same_id(desk: Desk) -> None:
    other = {"Authorization": f"Bearer {desk.other}"}
    assert desk.post("/v1/feedback", FIRST).status_code == 202
    assert desk.post("/v1/feedback", OTHER, **other).status_code == 202
    assert [event.event_id for event in desk.log.events] == [namespaced("shop", "e1"), namespaced("forum", "e1")]


def test_an_id_without_a_namespace_is_never_an_apps(desk: Desk) -> None:
    made = desk.post("/v1/feedback", THUMBS).json()["event_ids"][0]
    assert desk.post("/v1/feedback", {**THUMBS, "event_id": made}).status_code == 202
    assert len({event.event_id for event in desk.log.events}) == 2


def test_what_was_not_durable_is_not_remembered(desk: Desk) -> None:
    desk.log.ready = False
    assert desk.post("/v1/feedback", FIRST).status_code == 503
    desk.log.ready = True
    assert desk.post("/v1/feedback", FIRST).status_code == 202
    assert stored(desk) == ["e1"]


class Slow(Memory):
    """A log whose events become durable when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.durable = asyncio.Queue[None](), asyncio.Event()

    async def append(self, events: Sequence[Sealed]) -> Kept:
        self.asked.put_nowait(None)
        await self.durable.wait()
        return await super().append(events)


@contextlib.asynccontextmanager
async def collector(desk: Desk, log: Memory) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(log, desk.keyring, clock=lambda: NOW))
    headers = {"Authorization": f"Bearer {desk.ingest}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://collector", headers=headers) as http:
        yield http


def test_no_repeat_is_told_before_the_first_is_durable(desk: Desk) -> None:
    async def story() -> None:
        log = Slow()
        async with collector(desk, log) as http, asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(http.post("/v1/feedback", json=FIRST)) for _ in range(2)]
            for _ in answers:
                await log.asked.get()
            assert not any(answer.done() for answer in answers)
            log.durable.set()
            assert [(await answer).status_code for answer in answers] == [202, 202]
            assert (await http.post("/v1/feedback", json=FIRST)).status_code == 200
        assert len(log.events) == 2  # the recorder keeps one of them

    desk.runner.run(story())


# --- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", LISTS)
def test_one_bad_item_does_not_take_the_others_along(desk: Desk, route: str) -> None:
    good, bad = ROUTES[route], {**ROUTES[route], "prediction_id": "a b"}
    answer = desk.post(route, [{**good, "event_id": "e0"}, bad, 3, {**good, "event_id": "e3"}])
    receipt = answer.json()
    assert (answer.status_code, receipt["accepted"], receipt["event_ids"]) == (207, 2, ["e0", "e3"])
    told = [(error["event_index"], error["status"], error["code"]) for error in receipt["errors"]]
    assert told == [(1, 422, "string_pattern_mismatch"), (2, 422, "object_type")]
    assert stored(desk) == ["e0", "e3"]


def test_a_list_without_a_good_item_is_refused_with_each_items_problem(desk: Desk) -> None:
    answer = desk.post("/v1/feedback", [{**THUMBS, "value": "sideways"}, 3])
    refused(desk, answer, 422, "literal_error", "value", 0)
    assert [(error["event_index"], error["code"]) for error in answer.json()["errors"]] == [
        (0, "literal_error"),
        (1, "object_type"),
    ]


def test_repeats_within_a_list_and_of_earlier_ones(desk: Desk) -> None:
    desk.post("/v1/feedback", FIRST)
    new = {**THUMBS, "event_id": "e2"}
    receipt = desk.post("/v1/feedback", [FIRST, new, new, OTHER, {**new, "value": "down"}]).json()
    assert (receipt["accepted"], receipt["event_ids"], receipt["duplicates"]) == (3, ["e1", "e2", "e2"], [0, 2])
    assert [(error["event_index"], error["code"]) for error in receipt["errors"]] == [
        (3, "id_conflict"),
        (4, "id_conflict"),
    ]
    assert stored(desk) == ["e1", "e2"]
    assert [event.feedback.value for event in desk.log.events if isinstance(event, FeedbackReceived)] == ["up", "up"]


def test_a_list_of_repeats_alone_is_a_repeat(desk: Desk) -> None:
    events = [{**THUMBS, "event_id": f"e{number}"} for number in range(3)]
    first, again = desk.post("/v1/feedback", events), desk.post("/v1/feedback", events)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "duplicates": [0, 1, 2]}


def test_an_event_of_more_than_64_kib_is_too_large_by_itself(desk: Desk) -> None:
    large = {**PREDICTION, "input": WIDE, "output": WIDE}
    assert len(WIDE.encode()) < MAX_ITEM < 2 * len(WIDE.encode())
    answer = desk.post("/v1/predictions", [PREDICTION, large, {**PREDICTION, "input": WIDE}])
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["event_index"], error["status"], error["code"]) == (207, 1, 413, "too_large")
    assert len(desk.log.events) == 2
    desk.log.events.clear()
    refused(desk, desk.post("/v1/predictions", large), 413, "too_large")


# --- the window --------------------------------------------------------------------------------------------------


def test_the_window_keeps_the_newest_and_never_more_than_its_capacity() -> None:
    window = Window(100)
    for number in range(1_000):
        window.remember({f"e{number}": number})
        assert len(window) <= 100
    assert all(window.content(f"e{number}") == number for number in range(950, 1_000))
    assert window.content("e0") is None


def test_what_an_id_said_first_stays() -> None:
    window = Window(10)
    window.remember({"e1": 1})
    for number in range(6):
        window.remember({f"o{number}": 0, "e1": 2})
        assert window.content("e1") == 1
