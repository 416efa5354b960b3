"""A broken producer: what it had sent may be on the broker, and nobody says otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.stage import broker
from shared.errors import UnavailableError, UnconfirmedError
from shared.kafka import Bus
from shared.log import KafkaLog
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.kafka.test_collector import stored, thumbs
from tests.kafka.test_spool import frozen

pytestmark = pytest.mark.kafka


async def test_a_broken_producer_is_replaced(bus: Bus) -> None:
    log = KafkaLog(bus, "collector")
    async with log.running():
        await log.append([thumbs("e1")])
        broken = log._line
        assert broken is not None
        broken.give_up()  # what an idempotent producer that lost its place comes to
        with pytest.raises(UnavailableError):
            await log.append([thumbs("e2")])
        await asyncio.to_thread(broken.join, 10)
        await log.append([thumbs("e2")])
    assert sorted(await asyncio.to_thread(stored, bus, FEEDBACK)) == ["e1", "e2"]


async def test_what_a_broker_that_died_had_been_sent_is_not_said_to_be_nowhere(tmp_path: Path) -> None:
    with broker(tmp_path / "kafka", free_port(2)) as (bus, process):
        log = KafkaLog(bus, "predictor", ack_timeout_s=30)
        async with log.running():
            await log.append([thumbs("e1")])
            with frozen(process):
                sending = asyncio.create_task(log.append([thumbs("e2")]))
                await asyncio.sleep(0.5)  # it has left, and is not confirmed
                process.kill()
                with pytest.raises(UnconfirmedError):  # the client has taken it back into its queue
                    await asyncio.wait_for(sending, 20)
            with pytest.raises(UnavailableError) as away:  # and this one it was never handed
                log.produce([thumbs("e3").record])
            assert not isinstance(away.value, UnconfirmedError)
