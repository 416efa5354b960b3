"""An erased user's words are in no byte of an installation, but where Kafka keeps them for days that are documented."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx
import learnback
import pytest
from sqlmodel import Session, SQLModel, col, select

from local.demo.story import Story
from services.aggregator.topics import APP, JOINS, OUTCOMES
from shared.tables import DeadLetter, ErrorSlice, Example, FeedbackRow, Lesson, Prediction, Receipt
from shared.text import example_id
from shared.topics import FEEDBACK, PREDICTIONS
from tests.journey.conftest import Machine
from tests.journey.test_the_loop import DECIDED_S, until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
WITHIN_S = 60
MODEL, WORDS = "forgetful", "zebrafish quartz"
KEPT = (PREDICTIONS.name, FEEDBACK.name, OUTCOMES.name, f"{APP}-{JOINS}-changelog")


def holding(folder: Path) -> set[str]:
    """The files of an installation that hold the words; of Kafka's log, those of the topics that may not keep them."""
    found = set()
    for path in folder.rglob("*"):
        if any(name in path.as_posix() for name in KEPT):
            continue
        with suppress(FileNotFoundError):  # Kafka renames and deletes as we look
            if path.is_file() and WORDS.encode() in path.read_bytes():
                found.add(path.relative_to(folder).as_posix())
    return found


def count(machine: Machine, table: type[SQLModel], *conditions: object) -> int:
    """How many rows there are."""
    with Session(machine.engine) as session:
        return len(session.exec(select(table).where(*conditions)).all())  # type: ignore[arg-type]


def say_things(machine: Machine, story: Story, key: str) -> None:
    """What Ann said in as many ways as there are: questions, corrections, an unknown label, a comment, a taken id."""
    ports, right = machine.ports, story.known[0]
    with learnback.Client(ports.url("collector"), key, predictor_url=ports.url("predictor")) as app:
        for number in range(12):
            answer = app.predict(MODEL, f"{WORDS}, {number} times", user="ann", tags={"said": WORDS})
            app.correction(answer.prediction_id, right, user="ann", tags={"said": WORDS})
        answer = app.predict(MODEL, f"{WORDS} at last", user="ann")
        app.correction(answer.prediction_id, WORDS, user="ann")
        app.comment(answer.prediction_id, f"{WORDS}!", user="ann")
        app.correction("nobody-asked-this", WORDS, user="ann")
        taken = {"prediction_id": answer.prediction_id, "model": MODEL, "version": "own", "input": WORDS, "output": "x"}
        assert app.flush(WITHIN_S)
    with httpx.Client(base_url=ports.url("collector"), headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.post("/v1/predictions", json={**taken, "user": "ann"}).status_code == 202


def learn(machine: Machine) -> None:
    """Have an increment made of what was said."""
    headers = {"Authorization": f"Bearer {machine.run.board_key_file.read_text()}"}
    url = f"{machine.ports.url('collector')}/v1/training-requests"
    assert httpx.post(url, json={"model": MODEL}, headers=headers).status_code == 202
    hers = [example_id(MODEL, f"{WORDS}, {number} times") for number in range(12)]
    until(lambda: count(machine, Lesson, col(Lesson.example_id).in_(hers)), DECIDED_S, "nothing was learned of Ann")


def test_an_erased_users_words_are_in_no_byte_of_an_installation(machine: Machine, story: Story) -> None:
    key = machine.key(MODEL)
    machine.add(MODEL, story, key)
    say_things(machine, story, key)
    until(lambda: count(machine, FeedbackRow, FeedbackRow.app == MODEL) == 15, WITHIN_S, "all is recorded")
    until(lambda: count(machine, DeadLetter), WITHIN_S, "the taken id is in the dead letters")
    until(lambda: count(machine, ErrorSlice, ErrorSlice.slice == "label=(new)"), WITHIN_S, "the slices are counted")
    learn(machine)
    assert {path.split("/")[0].split(".")[0] for path in holding(machine.run.root)} == {"learnback", "kafka"}

    url, headers = machine.ports.url("collector"), {"Authorization": f"Bearer {key}"}
    assert httpx.post(f"{url}/v1/erasures", json={"user": "ann"}, headers=headers).status_code == 202
    until(lambda: count(machine, Receipt) and not holding(machine.run.root), WITHIN_S, "no byte holds the words")

    assert count(machine, Prediction, Prediction.app == MODEL) == 0
    assert count(machine, FeedbackRow, FeedbackRow.app == MODEL) == 0
    assert count(machine, Example, Example.origin == "feedback", Example.model == MODEL) == 0
