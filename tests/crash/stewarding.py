"""Stories of who moves aliases: a canary, a champion that is watched, a reviewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from schemas.events import DecisionAnswered, ModelStateChanged, ReviewDecided, VerdictReached
from shared.policy import PolicyFile
from tests.crash.scene import Scene, until
from tests.kafka.evaluators import answer_to, candidate, contrary, first, promoted, serve
from tests.kafka.stage import Stage, staged
from tests.unit.recorder_story import MODEL
from tests.weights import Version

CANARY = "[defaults.trial]\ncanary = 0.5\ncanary_answers = 100\n"


@contextmanager
def scenery(scene: Scene) -> Iterator[tuple[Stage, Version, Version]]:
    """A champion, and a version that gives other answers."""
    with staged(scene.bus, scene.folder, PolicyFile()) as stage:
        v0 = first(stage)
        serve(stage, v0)
        v1 = contrary(stage, v0, "other")
        stage.database.record(candidate(v1, v0))
        yield stage, v0, v1


def moved(stage: Stage) -> list[tuple[str, str, float]]:
    """Alias, version and share of each state after the first, repeats once."""
    states = {one.event_id: one for one in stage.of(ModelStateChanged)}
    return [(str(one.alias), one.version, one.share) for one in states.values()][1:]


def a_canary_wins_its_trial(scene: Scene, point: str) -> None:
    """It is on trial once, gets one verdict, serves, and its trial is over."""
    policy = scene.folder / "learnback.toml"
    policy.write_text(policy.read_text() + CANARY)
    with scenery(scene) as (stage, v0, v1):
        stage.publish(promoted(v1, v0), candidate(v1, v0))
        with scene.dying(point):
            if point == "evaluator.after_canary":
                pass  # nobody has to answer for that
            else:
                until(lambda: moved(stage), "it is on trial")
                _prefer(stage, v1, v0)
        with scene.running("evaluator"):
            until(lambda: moved(stage), "it is on trial")
            if point == "evaluator.after_canary":
                _prefer(stage, v1, v0)
            until(lambda: len(moved(stage)) == 3, "it serves, and the trial is over")
        assert moved(stage) == [("canary", v1.id, 0.5), ("champion", v1.id, 0.0), ("canary", v1.id, 0.0)]
        assert len({one.event_id for one in stage.of(VerdictReached) if one.decided_by == "canary"}) == 1


def _prefer(stage: Stage, canary: Version, champion: Version) -> None:
    for _ in range(20):
        answer_to(stage, canary, right=True)
        answer_to(stage, champion, right=False)


def a_worse_champion_is_rolled_back(scene: Scene, point: str) -> None:
    """One verdict, and one step back."""
    with scenery(scene) as (stage, v0, v1):
        stage.publish(promoted(v1, v0), candidate(v1, v0))
        with scene.dying(point):
            until(lambda: moved(stage), "it serves")
            for _ in range(20):
                answer_to(stage, v1, right=False)
        with scene.running("evaluator"):
            until(lambda: len(moved(stage)) == 2, "the one before serves again")
        assert moved(stage) == [("champion", v1.id, 0.0), ("champion", v0.id, 0.0)]
        assert len({one.event_id for one in stage.of(VerdictReached) if one.decided_by == "watch"}) == 1


def a_reviewer_promotes(scene: Scene, point: str) -> None:
    """The version serves once, and the decision has its answer."""
    with scenery(scene) as (stage, v0, v1):
        review = ReviewDecided(
            event_id="review-1", occurred_at=datetime.now(UTC), source="collector", subject_kind="version",
            subject=v1.id, model=MODEL, decision="promote", reviewer="ada", note="a hunch",
        )  # fmt: skip
        stage.publish(candidate(v1, v0), review)
        with scene.dying(point):
            pass
        with scene.running("evaluator"):
            until(lambda: stage.of(DecisionAnswered), "the decision is answered")
        assert moved(stage) == [("champion", v1.id, 0.0)]
        assert {(one.review, one.outcome) for one in stage.of(DecisionAnswered)} == {("review-1", "done")}
