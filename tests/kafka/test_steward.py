"""Who moves aliases, on a real broker: a candidate comes by the gate, is tried on users, serves, and people step in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.events import DecisionAnswered, ModelStateChanged, ReviewDecided, VerdictReached
from shared.kafka import Bus
from shared.policy import Gate, Policy, PolicyFile, Trial
from tests.kafka.evaluators import ASKED, answer, answer_to, better, candidate, evaluator, first, judged, serve
from tests.kafka.stage import Stage, staged, until
from tests.unit.recorder_story import MODEL
from tests.weights import ROWS

pytestmark = pytest.mark.kafka
RULES = PolicyFile(defaults=Policy(gate=Gate(tries=2), trial=Trial(canary=0.5, canary_answers=40)))


@pytest.fixture
def stage(bus: Bus, tmp_path: Path) -> Iterator[Stage]:
    with staged(bus, tmp_path, RULES) as here:
        yield here


def states(stage: Stage) -> list[tuple[str, str, float, str]]:
    return [(one.alias, one.version, one.share, one.decided_by) for one in stage.of(ModelStateChanged)]


def test_a_promoted_candidate_is_tried_serves_and_is_taken_back_by_a_person(stage: Stage) -> None:
    v0 = first(stage)
    v1 = better(stage, v0)
    serve(stage, v0)
    stage.database.record(candidate(v1, v0))
    answer(stage, ASKED + ROWS)
    with evaluator(stage):
        assert judged(stage, v1, v0).outcome == "promote"
        until(lambda: len(states(stage)) == 2)
        assert states(stage)[1] == ("canary", v1.id, 0.5, "gate")
    for number in range(24):
        answer_to(stage, v1, right=True)
        answer_to(stage, v0, right=number % 8 == 0)
    with evaluator(stage):  # another one: it finds the trial where it was
        until(lambda: len(states(stage)) == 4)
        assert states(stage)[2:] == [("champion", v1.id, 0.0, "canary"), ("canary", v1.id, 0.0, "canary")]
        [verdict] = [one for one in stage.of(VerdictReached) if one.decided_by == "canary"]
        assert (verdict.candidate, verdict.champion, verdict.outcome) == (v1.id, v0.id, "promote")
        stage.publish(
            ReviewDecided(
                event_id="review-1", occurred_at=datetime.now(UTC), source="collector", subject_kind="version",
                subject=v0.id, model=MODEL, decision="rollback", reviewer="ada", note="a customer called",
            )
        )  # fmt: skip
        until(lambda: stage.of(DecisionAnswered))
        stage.publish(candidate(v1, v0))  # told again: nobody promotes it again
        until(lambda: len(states(stage)) == 5)
    [decided] = stage.of(DecisionAnswered)
    assert (decided.outcome, decided.version, decided.review) == ("done", v0.id, "review-1")
    assert states(stage)[4] == ("champion", v0.id, 0.0, "ada")
    assert len(stage.of(ModelStateChanged)) == 5
