"""The spool keeps what it took, in order, and nothing that it refused or was told to forget."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.collector.spool import Spool
from services.collector.spool_file import PAGE_BYTES, SpoolFile, row
from shared.envelope import Outgoing, seal
from shared.errors import FatalError, UnavailableError
from shared.topics import FEEDBACK
from tests.unit.events import EXAMPLES

LIMIT = 1024 * 1024


def record(number: int, words: bytes = b"said") -> Outgoing:
    return Outgoing(FEEDBACK, b"p1", words + b" %d" % number, [("ce_id", b"e%d" % number)])


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


async def test_what_many_requests_put_comes_back_in_order_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", LIMIT)
    events = [seal(event) for event in EXAMPLES]
    await asyncio.gather(*(spool.put([record(number)], [None]) for number in range(200)))
    await spool.put(events, [None] * len(events))
    assert spool.events == 200 + len(events)
    await spool.close()
    spool = Spool(tmp_path / "spool.db", LIMIT)
    found = await spool.head(1_000)
    assert [entry.record for entry in found] == [*[record(number) for number in range(200)], *events]
    await spool.remove(found[:150])
    assert spool.events == 50 + len(events)
    assert (await spool.head(1))[0].record == record(150)
    await spool.close()


async def test_what_comes_while_it_is_drained_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", LIMIT)
    await spool.put([record(number) for number in range(10)], [None] * 10)
    found = await spool.head(10)
    draining = asyncio.ensure_future(spool.remove(found))
    await asyncio.gather(*(spool.put([record(number)], [None]) for number in range(10, 15)), draining)
    assert spool.events == len(await spool.head(100)) == 5
    await spool.close()


async def test_a_request_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", LIMIT)
    await spool.put([record(0)], [None])
    kept = spool.fullness
    with pytest.raises(UnavailableError, match="is full"):
        await spool.put([record(number, b"x" * 10_000) for number in range(200)], [None] * 200)
    assert (spool.events, spool.fullness, spool.has_room) == (1, kept, False)
    await spool.put([record(1)], [None])  # a small one fits
    assert spool.has_room
    assert [entry.record for entry in await spool.head(10)] == [record(0), record(1)]
    await spool.close()


async def test_room_comes_back_when_it_is_drained(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", LIMIT)
    for turn in range(20):
        await spool.put([record(turn, b"x" * 10_000)] * 40, [None] * 40)
        assert 0.3 < spool.fullness < 0.6
        await spool.remove(await spool.head(100))
    assert spool.fullness * LIMIT <= 4 * PAGE_BYTES
    assert b"x" * 100 not in bytes_on_disk(tmp_path / "spool.db")
    await spool.close()


async def test_no_byte_of_an_erased_user_stays(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, LIMIT)
    for number in range(50):
        await spool.put([record(number, b"swordfish"), record(number, b"halibut")], ["a" * 32, "b" * 32])
    assert bytes_on_disk(path).count(b"swordfish") >= 50
    assert await spool.erase("a" * 32) == 50
    assert await spool.erase("a" * 32) == 0
    for gone in (b"swordfish", b"a" * 32):
        assert gone not in bytes_on_disk(path)
    left = [entry.record for entry in await spool.head(100)]
    assert left[1::2] == [record(number, b"halibut") for number in range(50)]
    assert left[0::2] == [record(number)._replace(value=None) for number in range(50)]  # they arrive, and say nothing
    await spool.close()


def test_two_collectors_do_not_share_one_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    file = SpoolFile(path, LIMIT)
    with pytest.raises(FatalError, match="another collector"):
        SpoolFile(path, LIMIT)
    file.keep([row(record(1), None, time.time())])
    file.close()
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(FatalError, match="moved away"):
        SpoolFile(path, LIMIT)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("point", "kept"), [("collector.mid_spool_append", 3), (None, 6)])
def test_a_kill_in_the_middle_keeps_whole_requests(tmp_path: Path, point: str | None, kept: int) -> None:
    path = tmp_path / "spool.db"
    file = SpoolFile(path, LIMIT)
    file.keep([row(record(number), None, 0.0) for number in range(3)])
    file.close()
    code = f"""
import os, signal
from pathlib import Path
from services.collector.spool_file import SpoolFile, row
from tests.unit.test_spool import record
file = SpoolFile(Path({str(path)!r}), 1 << 20)
file.keep([row(record(number), None, 0.0) for number in range(3, 6)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    variables = {"LEARNBACK_CRASH_AT": point} if point else {}
    done = subprocess.run([sys.executable, "-c", code], env=variables, timeout=60)
    assert done.returncode == -9
    file = SpoolFile(path, LIMIT)
    assert [entry.record for entry in file.head(10)] == [record(number) for number in range(kept)]
    file.close()
