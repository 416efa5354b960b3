"""The loop on this machine: feedback makes a better model, and lies do not make a worse one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from learnback import AsyncClient, Prediction
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from local.demo.stored import labels_of, wait_stored
from local.demo.story import Story
from local.demo.users import Saying, Traffic, Users, opinion
from services.board.velocity import velocity
from shared.datasets import Row
from shared.tables import Example, FeedbackRow, Lesson, StateChange, Verdict, Version
from tests.journey.conftest import Machine

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
RATE = 40.0
DECIDED_S = 240


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something that the loop does by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def outcomes(engine: Engine, model: str, outcome: str) -> list[Verdict]:
    """The verdicts on increments, not on the first version."""
    with Session(engine) as session:
        found = select(Verdict).where(Verdict.model == model, Verdict.outcome == outcome)
        return list(session.exec(found.where(col(Verdict.champion).is_not(None))))


async def ask(machine: Machine, key: str, users: Callable[[AsyncClient], Users]) -> Traffic:
    """Let users ask and say what they think."""
    ports = machine.ports
    async with AsyncClient(ports.url("collector"), key, predictor_url=ports.url("predictor")) as client:
        return await users(client).play(RATE)


async def test_feedback_makes_a_better_model(machine: Machine, story: Story) -> None:
    key = machine.key("shop")
    first = machine.add("shop", story, key)

    traffic = await ask(machine, key, lambda client: Users(client, "shop", story, 0))
    assert traffic.failed == 0
    stored = wait_stored(machine.engine, "shop", traffic, 60)
    assert (stored.lost, stored.duplicates) == (0, 0)
    assert stored.feedback == traffic.stats.accepted == len(traffic.said) > 200

    until(lambda: outcomes(machine.engine, "shop", "promote"), DECIDED_S, "no candidate was promoted")
    again = await ask(machine, key, lambda client: Users(client, "shop", tail(story), 1, opinion=silent))
    assert again.failed == 0
    assert first not in again.versions, "the promoted version does not serve"
    before = traffic.accuracy(600, 800)  # the first version, as new labels begin to arrive
    assert again.accuracy(0, 200) >= before + 0.2
    knows = labels_of(machine.engine, again.versions[0])
    assert set(story.known) < set(knows) <= set(story.labels)
    assert_traceable(machine.engine, first)


def tail(story: Story) -> Story:
    """The same users with the last questions only."""
    return Story(story.dataset, (), (), story.stream[600:800], 200, story.known, story.labels)


def silent(answer: Prediction, row: Row, labels: list[str], chance: random.Random) -> Saying | None:
    """Say nothing."""
    return None


def assert_traceable(engine: Engine, first: str) -> None:
    """From a promoted version back to the words of a user, and on to the figures of the board."""
    with Session(engine) as session:
        states = session.exec(select(StateChange).where(StateChange.model == "shop")).all()
        promoted = [state for state in states if state.version != first]
        verdicts = {verdict.event_id: verdict for verdict in session.exec(select(Verdict))}
        assert all(verdicts[state.decision].outcome == "promote" for state in states), (
            "an alias moved without a verdict"
        )
        lessons = set(session.exec(select(Lesson.example_id).where(Lesson.version == promoted[0].version)))
        learned = session.exec(select(Example).where(col(Example.id).in_(lessons))).all()
        assert learned
        assert all(example.status == "train" for example in learned), "a version learned what was no lesson"
        spoken = set(session.exec(select(FeedbackRow.example_id).where(FeedbackRow.kind == "correction")))
        assert lessons & spoken
        increments = session.exec(
            select(Version).where(Version.model == "shop", col(Version.parent).is_not(None))
        ).all()
    figures = velocity(engine, "shop")
    assert figures.promotions == len(promoted) >= 1
    assert figures.increments == len(increments) >= 1
    assert figures.fix_times.fixed > 0
    assert (figures.fix_times.p50_s or 0) > 0


def liar(answer: Prediction, row: Row, labels: list[str], chance: random.Random) -> Saying | None:
    """Users who were asked tell the truth; a crowd of others calls each answer wrong and names the next label."""
    if answer.solicit:
        return opinion(answer, row, labels, chance)
    wrong = labels[(labels.index(row.label) + 1) % len(labels)]
    return Saying(correction=wrong) if chance.random() < 0.6 else None


async def test_lies_do_not_make_a_worse_model(machine: Machine, story: Story) -> None:
    key = machine.key("attacked")
    first = machine.add("attacked", story, key)
    calm = Story(story.dataset, story.seeds, story.anchor, story.stream[:600], 600, story.known, story.known)

    traffic = await ask(machine, key, lambda client: Users(client, "attacked", calm, 0, opinion=liar))
    assert traffic.failed == 0
    until(lambda: outcomes(machine.engine, "attacked", "reject"), DECIDED_S, "no poisoned candidate was rejected")

    verdict = outcomes(machine.engine, "attacked", "reject")[0]
    assert "inferior" in verdict.reason or "Worse than the champion" in verdict.reason
    failed = [check for check in verdict.checks if not check["passed"]]
    assert {check["name"] for check in failed} & {"anchor", "harm"}
    assert all(check["reason"] for check in failed)
    assert not outcomes(machine.engine, "attacked", "promote")
    later = await ask(machine, key, lambda client: Users(client, "attacked", tail(story), 1, opinion=silent))
    assert later.versions == [first], "something else than the first version serves"
