"""What the board says of a model after fifty verdicts, against how good the version that serves truly is.

Candidates are truly better or worse than the champion by chance, the gate chooses, and whom it lets in serves. The
answers go into SQL as the recorder writes them, and the board's own figures are read from there. Beside them is what a
board would say that showed each champion's accuracy on the rows that chose it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

import numpy as np
from numpy.random import Generator
from sqlalchemy import Engine, insert
from sqlmodel import SQLModel

from bench.gate.equal import EVERYBODY, Advance
from bench.gate.gates import Doorkeeper, HigherWins, Product
from bench.gate.line import Course, Scene
from bench.gate.rates import average
from bench.gate.traffic import Log
from bench.gate.world import Version, world
from bench.report import Figure, at_most
from services.board.served import WINDOW, by_version, first_and_last
from shared.tables import FeedbackRow, Prediction, open_database

MODEL = "bench"
VERDICTS, ASKED = 50, 200
START_ACCURACY, BEST, DISCORDANCE = 0.75, 0.93, 0.1
GAIN, SPREAD = 0.004, 0.015  # of a candidate over its champion: mean and standard deviation
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
MOST = at_most(0.3)


@dataclass
class Story:
    """Who served, and what was said of it; `claimed` is what promoting verdicts said, less the truth."""

    scene: Scene
    served: list[tuple[int, float, list[bool]]] = field(default_factory=list)  # version, its accuracy, who was right
    claimed: list[float] = field(default_factory=list)

    @property
    def promotions(self) -> int:
        """So far."""
        return len(self.claimed)

    @property
    def reused(self) -> float:
        """The champion's accuracy on the rows that the gate looks at, less the truth."""
        return float(self.scene.log.champion.mean()) - self.scene.champion.mean

    def hear(self, fresh: Log) -> None:
        """Take in what was said of the champion."""
        self.served.append((self.promotions, self.scene.champion.mean, fresh.champion.tolist()))


def figures(sequences: int, seed: int, advance: Advance) -> list[Figure]:
    """How much too high the board's figures are on average, in points, after all verdicts."""
    said: list[float] = []
    now: list[float] = []
    claimed: list[float] = []
    reused: list[float] = []
    for number in range(sequences):
        ours = told(Product(), np.random.default_rng((seed, number)))
        naive = told(HigherWins(), np.random.default_rng((seed, number)))
        by_version_, last = read(ours)
        said.append(100 * by_version_)
        now.append(100 * last)
        reused.append(100 * naive.reused)
        claimed += [100 * one for one in ours.claimed]
        advance()
    beside = {"higher wins, on the rows that chose": fmean(reused)}
    return [
        average(f"board, accuracy of who serves after {VERDICTS} verdicts: too high by", said, "points", MOST, beside),
        average(f"board, accuracy now (last {WINDOW} answers): too high by", now, "points"),
        average("a promoting verdict's own accuracy: too high by", claimed, "points"),
    ]


def told(keeper: Doorkeeper, chance: Generator) -> Story:
    """One model's story under a gate."""
    champion = Version(np.array([START_ACCURACY]))
    drawn = world(START_ACCURACY, START_ACCURACY, DISCORDANCE)
    scene = Scene(Course(drawn, EVERYBODY, champion, ASKED, VERDICTS), chance)
    story = Story(scene)
    for _ in range(VERDICTS):
        story.hear(scene.serve(ASKED))
        scene.meet(Version(np.minimum(scene.champion.accuracy + chance.normal(GAIN, SPREAD), BEST)))
        shown = scene.shown()
        if keeper.lets_in(shown):
            story.claimed.append(float(shown.candidate.mean()) - scene.candidate.mean)
            scene.crown()
    story.hear(scene.serve(ASKED))
    return story


def read(story: Story) -> tuple[float, float]:
    """By how much two of the board's figures are too high: of the version that serves, and of now."""
    engine = open_database("sqlite://")
    try:
        record(engine, story)
        serving = by_version(engine, MODEL)[f"v{story.promotions}"].value
        now = first_and_last(engine, MODEL)[1].value
    finally:
        engine.dispose()
    truths = [accuracy for _, accuracy, right in story.served for _ in right]
    assert serving is not None
    assert now is not None
    return serving - story.scene.champion.mean, now - fmean(truths[-WINDOW:])


def record(engine: Engine, story: Story) -> None:
    """Write what was said as the recorder does."""
    SQLModel.metadata.create_all(engine)
    rows = list(_rows(story))
    with engine.begin() as connection:
        connection.execute(insert(Prediction), [prediction for prediction, _ in rows])
        connection.execute(insert(FeedbackRow), [feedback for _, feedback in rows])


def _rows(story: Story) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    answers = ((number, is_right) for number, _, right in story.served for is_right in right)
    for place, (number, is_right) in enumerate(answers):
        key, moment, version = f"p{place:06}", MOMENT + timedelta(seconds=place), f"v{number}"
        common = {"prediction_id": key, "model": MODEL, "version": version, "app": "bench", "user_key": None}
        asked = {"input": key, "output": "", "solicit": True, "solicit_rate": 1.0, "example_id": key}
        yield (
            common | asked | {"event_id": key, "scores": [], "tags": {}, "occurred_at": moment},
            common
            | {"event_id": f"f{key}", "kind": "thumbs", "value": "down", "tags": {}, "occurred_at": moment}
            | {"example_id": key, "solicited": True, "wrong": not is_right, "counted": True},
        )
