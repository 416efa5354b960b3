"""A trainer's place in its consumer group, which is kept by polling while something takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from kafka import KafkaConsumer, TopicPartition

from shared.errors import UnavailableError
from shared.observe import Pulse

POLL_MS = 500
STORE_MS = 2000  # until an artifact store that is away is asked again

Told = TypeVar("Told")
log = structlog.get_logger()


class InterruptedTrainingError(Exception):
    """The partition went to another member, or the process is to stop: the request is for later."""


@dataclass(frozen=True)
class Place:
    """The consumer of a loop that is busy with a record."""

    consumer: KafkaConsumer
    pulse: Pulse
    stopping: threading.Event

    def idle(self, part: TopicPartition, timeout_ms: int = POLL_MS) -> None:
        """Let the time pass without losing the place in the group.

        Raises:
            InterruptedTrainingError: the record's partition is lost, or the loop is to stop.
        """
        self.consumer.pause(*self.consumer.assignment())  # newly assigned partitions arrive unpaused
        for other, records in self.consumer.poll(timeout_ms=timeout_ms, max_records=1).items():
            self.consumer.seek(other, records[0].offset)
        self.pulse.touch()
        if self.stopping.is_set() or part not in self.consumer.assignment():
            raise InterruptedTrainingError("stopped" if self.stopping.is_set() else "the partition moved")

    def patiently(self, part: TopicPartition, ask: Callable[[], Told]) -> Told:
        """What the artifact store answers, as soon as it does: what was trained is not to be trained again.

        Raises as `idle`.
        """
        while True:
            try:
                return ask()
            except UnavailableError as reason:
                log.warning("waiting", reason=str(reason))
                self.idle(part, STORE_MS)
