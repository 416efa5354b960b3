"""What nobody should send: bad bodies over HTTP, and records put into the topics around the collector."""

from __future__ import annotations

import logging
import random
import time

from confluent_kafka import KafkaError, Message, Producer

from nemesis.history import History, Outcome, Unit, digest_of
from shared.kafka import Bus
from shared.topics import FEEDBACK, PREDICTIONS

# Each names an id, so that it would be found if it were stored.
BODIES = (
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "thumbs", "value": "sideways"}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "thumbs"',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "rating", "value": NaN}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "rating", "value": 1e400}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "rating", "value": true}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "comment", "value": "\\u0000"}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "comment", "value": "\\ud800"}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "comment", "value": "\xff"}',
    b'{"event_id": "$ID", "event_id": "other", "prediction_id": "p", "kind": "thumbs", "value": "up"}',
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "correction", "value": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"event_id": "$ID", "prediction_id": "p", "kind": "comment", "value": "' + b"x" * 5000 + b'"}',
)
RECORDS = (
    b"not json $ID",
    b"\xff\xfe\x00$ID",
    b'{"event_id": "$ID", "occurred_at": "yesterday"}',
    b'["$ID"]',
    b'{"event_id": "$ID", "value": ' + b"[" * 2000,
)
DELIVERY_MS = 10_000  # then nobody knows
SILENT = logging.getLogger("nemesis.kafka")  # that the broker is away is no news here
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


class Poisoner:
    """Puts poison into topics, and notes what the broker said of it."""

    def __init__(self, bus: Bus, history: History, chance: random.Random) -> None:
        """Connect as anybody could who reaches the broker."""
        self._topics = [bus.name(FEEDBACK), bus.name(PREDICTIONS)]
        self._history, self._chance = history, chance
        options = {"bootstrap.servers": bus.servers, "enable.idempotence": True, "delivery.timeout.ms": DELIVERY_MS}
        self._producer = Producer(options, logger=SILENT)

    def put(self) -> None:
        """Send one record."""
        name = f"raw-{self._chance.randbytes(8).hex()}"
        value = self._chance.choice(RECORDS).replace(b"$ID", name.encode())
        number = self._history.begin([Unit(name, digest_of(value.hex()), "raw")], time.time())

        def told(error: KafkaError | None, _: Message) -> None:
            self._history.end(number, [Outcome("info" if error else "ok")], time.time())

        self._producer.produce(self._chance.choice(self._topics), value, key=name.encode(), on_delivery=told)

    def poll(self) -> None:
        """Hear what became of earlier ones."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all of them are known."""
        self._producer.flush(DELIVERY_MS / 1000)
