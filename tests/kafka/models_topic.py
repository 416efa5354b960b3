"""What tests put on the models topic: states, and what does not belong there."""

from __future__ import annotations

from kafka import KafkaProducer

from schemas.events import ModelStateChanged
from shared.envelope import seal
from shared.kafka import Bus
from shared.topics import MODELS


def publish(bus: Bus, *states: ModelStateChanged) -> None:
    with bus.publisher() as publisher:
        publisher.publish(*states)


def poison(bus: Bus, state: ModelStateChanged) -> None:
    """Put on the models topic what does not belong there: no JSON, another schema, nothing, another event."""
    known = seal(state).headers
    producer = KafkaProducer(bootstrap_servers=bus.servers)
    for value, headers in (
        (b"\xff no JSON", known),
        (b'{"model": 3}', known),
        (None, known),
        (b"", []),
        (state.model_dump_json().encode(), [("ce_type", b"VerdictReached")]),
    ):
        producer.send(bus.name(MODELS), key=b"poison", value=value, headers=headers).get(timeout=30)
    producer.close()
