"""While the broker is away: erased words leave the disk at once, and a count waits behind what it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from services.collector.durable import DurableLog
from services.collector.events import Origin, to_event
from services.collector.requests import CommentBody, ErasureBody
from services.collector.spool import Spool
from shared.audit import audited
from shared.kafka import Bus
from shared.log import KafkaLog
from shared.topics import AUDITS, FEEDBACK
from tests.conftest import free_port


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_what_an_erased_user_said_is_not_kept_for_a_broker_that_is_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 4 * 1024 * 1024)
    log = DurableLog(KafkaLog(Bus(f"127.0.0.1:{free_port()}"), "collector", ack_timeout_s=0.2), spool)
    origin = Origin("shop", b"s" * 32, datetime.now(UTC), log.instance)
    async with log.running():
        for user in ("ann", "bob"):
            said = CommentBody(prediction_id="p1", kind="comment", value=f"the words of {user}", user=user)
            assert (await log.append([to_event(said, origin)])).where == "spool"
        assert (await log.append([to_event(ErasureBody(user="ann"), origin)])).where == "spool"
        left = [(entry.record.topic.name, entry.record.value is None) for entry in await spool.head(10)]
        on_disk = bytes_in(tmp_path)
    assert left == [("feedback.v1", True), ("feedback.v1", False), ("erasures.v1", False)]  # ann's says nothing more
    assert b"the words of bob" in on_disk
    assert b"the words of ann" not in on_disk


async def test_the_count_of_what_is_spooled_waits_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    kafka = KafkaLog(Bus(f"127.0.0.1:{free_port()}"), "collector", ack_timeout_s=0.2)
    log = audited(DurableLog(kafka, Spool(path, 4 * 1024 * 1024)))
    origin = Origin("shop", b"s" * 32, datetime.now(UTC), log.instance)
    async with log.running():
        for number in range(3):
            said = CommentBody(prediction_id=f"p{number}", kind="comment", value="words")
            await log.append([to_event(said, origin)])
    again = Spool(path, 4 * 1024 * 1024)
    waiting = [entry.record.topic for entry in await again.head(10)]
    await again.close()
    assert waiting.count(FEEDBACK) == 3
    assert waiting[-1] is AUDITS
