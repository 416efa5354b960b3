"""An erased user's words are gone from every byte that we keep, within a minute; a receipt with counts stays."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.envelope import seal
from shared.kafka import Bus
from shared.tables import DeadLetter, Example, FeedbackRow, Prediction, Receipt
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.kafka.recorders import desk, until
from tests.unit.recorder_story import ANN, BOB, corrected, erased, said

pytestmark = pytest.mark.kafka
WITHIN_S = 60
SECRET = b"zebrafish quartz"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Bus, Path]]:
    """A broker of this test's own, whose files can be looked into."""
    folder, port = tmp_path / "kafka", free_port(2)
    with (tmp_path / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.broker", str(folder), str(port)], stdout=log, stderr=log
        )
    try:
        until(lambda: _answers(port))
        bus = Bus(f"127.0.0.1:{port}", prefix="learnback")
        bus.create_topics()
        yield bus, folder
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def holding(folder: Path, broker: Path) -> list[str]:
    """Files that hold the secret: the database with its write-ahead log, and what was put aside.

    The topics of predictions and feedback keep what was sent until their days are over (docs/operations.md).
    """
    shelves = [path for name in ("dead-letters", "quarantine") for path in broker.glob(f"log/*{name}*/*")]
    found = []
    for path in [*folder.glob("learnback.db*"), *shelves]:
        with contextlib.suppress(FileNotFoundError):  # Kafka renames and deletes as we look
            if SECRET in path.read_bytes():
                found.append(path.name)
    return found


def test_an_erased_users_words_are_in_no_byte_after_a_minute(broker: tuple[Bus, Path], tmp_path: Path) -> None:
    bus, files = broker
    words = SECRET.decode()
    with desk(bus, tmp_path) as here, bus.publisher() as publisher:
        here.start()
        for number in range(400):
            mine = number % 8 == 0
            text = f"{words} {number} " + "long " * (200 * (number % 3)) if mine else f"another text {number}"
            publisher.publish(*corrected(f"p{number}", text, words if mine else "b", number, user=ANN if mine else BOB))
        publisher.publish(said("p0", f"{words} again", 500, user=ANN))  # a taken id: a dead letter
        torn = (seal(said("p8", words, 500, user=ANN, name="-torn")).value or b"")[:-1]
        publisher.producer.send(bus.name(FEEDBACK), key=b"p8", value=torn)
        newer = (seal(said("p16", words, 500, user=ANN, name="-new")).value or b"")[:-1] + b', "schema_version": 9}'
        publisher.producer.send(bus.name(FEEDBACK), key=b"p16", value=newer)
        until(lambda: here.count(FeedbackRow) == 400 and here.count(DeadLetter) == 3)
        assert {path.split(".")[0] for path in holding(tmp_path, files)} >= {"learnback", "00000000000000000000"}
        publisher.publish(erased(ANN, 600))

        until(lambda: here.count(Receipt) == 1 and not holding(tmp_path, files), WITHIN_S)

        [receipt] = here.rows(Receipt)
        assert (receipt.predictions, receipt.feedback, receipt.examples, receipt.dead_letters) == (50, 50, 50, 3)
        assert {row.user_key for row in [*here.rows(Prediction), *here.rows(FeedbackRow)]} == {BOB}
        assert here.count(Example) == 350
