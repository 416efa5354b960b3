"""How often a record was tried, for a consumer that takes one at a time: kept with the group's offset on the broker.

The offset is committed again as it is, with the count as its metadata, before the record is handled. So the count
survives whatever the record does to the process, moves along with the partition, and needs no place of its own.
"""

from __future__ import annotations

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

MOST = 3  # times that a record may end a process before it is put aside
CRASH_LOOP = "crash_loop"


def begin(consumer: KafkaConsumer, part: TopicPartition, offset: int) -> bool:
    """Note that a record is tried; False when it ended MOST processes before, and is to be put aside."""
    before = _tries(consumer, part, offset)
    if before < MOST:
        _note(consumer, part, offset, str(before + 1))
    return before < MOST


def forgive(consumer: KafkaConsumer, part: TopicPartition, offset: int) -> None:
    """Forget the tries of a record: what happens from now on is not its doing, or it is for later."""
    if part in consumer.assignment():
        _note(consumer, part, offset, "")


def _tries(consumer: KafkaConsumer, part: TopicPartition, offset: int) -> int:
    committed = consumer.committed(part, metadata=True)
    if committed is None or committed.offset != offset or not str(committed.metadata or "").isdigit():
        return 0
    return int(committed.metadata)


def _note(consumer: KafkaConsumer, part: TopicPartition, offset: int, tries: str) -> None:
    consumer.commit({part: OffsetAndMetadata(offset, tries, -1)})
