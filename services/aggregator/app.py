"""Wiring: the Faust app, its tables, and one agent for each topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import faust
import structlog

from schemas.events import Event, VerdictReached
from services.aggregator.analyst import Analyst
from services.aggregator.changelogs import Contents
from services.aggregator.consumer import Transport
from services.aggregator.facts import read_fact
from services.aggregator.join import Entry, Place
from services.aggregator.joiner import Joiner
from services.aggregator.outbox import Outbox
from services.aggregator.settings import AggregatorSettings
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.tables import Table, Tables
from services.aggregator.tally import Tally
from services.aggregator.topics import APP, CHANGELOGS, JOINS, LOOPS, OUTCOMES, SLICES, Changelog
from services.aggregator.triggers import Loop
from services.aggregator.turn import TURN_S, Aggregator, turn_regularly
from shared.crash import crash_point
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.kafka import SESSION_TIMEOUT_MS, Bus
from shared.observe import EVENTS_IN, Pulse
from shared.policy import PolicyFile
from shared.topics import CANDIDATES, FEEDBACK, MODELS, PREDICTIONS, REVIEWS, TRAINING_PROGRESS, VERDICTS, Topic

Handle = Callable[[Any], None]
logger = structlog.get_logger()


def create(
    bus: Bus, settings: AggregatorSettings, policies: PolicyFile, pulse: Pulse, kept: Mapping[str, Contents]
) -> Aggregator:
    """Put the aggregator together; its topics must exist before it runs. `kept` is what its changelogs hold."""
    app = _faust_app(bus, settings)
    tables = {topic.table: _table(app, bus, topic, kept) for topic in CHANGELOGS}
    joins = Shelf(tables[JOINS], Entry)
    loops = Shelf(tables[LOOPS], Loop)
    slices = Shelf(tables[SLICES], Slice)
    outbox = Outbox(bus, _sender(app))
    joiner = Joiner(joins, settings.join_entries // FEEDBACK.partitions, outbox.tell, policies)
    analyst = Analyst(loops, Tally(slices, policies, outbox.emit), policies, outbox.emit)
    aggregator = Aggregator(app, bus, outbox, joiner, analyst, joins, loops, slices, tables[JOINS], pulse)
    _listen(aggregator)
    turn_regularly(aggregator)
    return aggregator


def _faust_app(bus: Bus, settings: AggregatorSettings) -> faust.App:
    app = faust.App(
        bus.group(APP),
        broker=";".join(f"aiokafka://{server.strip()}" for server in bus.servers.split(",")),
        store="memory://",
        datadir=str(settings.data_dir),
        key_serializer="raw",
        value_serializer="raw",
        Table=Table,
        TableManager=Tables,
        consumer_group_instance_id=bus.member(APP),
        processing_guarantee="at_least_once",
        producer_acks=-1,
        broker_session_timeout=SESSION_TIMEOUT_MS / 1000,
        broker_heartbeat_interval=SESSION_TIMEOUT_MS / 3000,
        broker_commit_interval=TURN_S,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_replication_factor=bus.replication,
        web_enabled=False,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    return app


def _table(app: faust.App, bus: Bus, topic: Changelog, kept: Mapping[str, Contents]) -> Table:
    table = app.Table(topic.table, key_type=bytes, value_type=bytes, partitions=topic.partitions)
    assert isinstance(table, Table)  # as the app is told
    if found := kept.get(bus.name(topic)):
        table.begin(found)
    return table


def _channel(app: faust.App, name: str) -> Any:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def _sender(app: faust.App) -> Callable[..., Any]:
    channels: dict[str, Any] = {}

    def send(topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        if topic not in channels:
            channels[topic] = _channel(app, topic)
        return channels[topic].send_soon(key=key, value=value, headers=headers)

    return send


def _listen(aggregator: Aggregator) -> None:
    """One agent for each topic; what they do with an event is the joiner's and the analyst's."""
    joiner, analyst = aggregator.joiner, aggregator.analyst
    by_place: list[tuple[Topic, Callable[[Any, Place], None]]] = [
        (PREDICTIONS, joiner.on_prediction_served),
        (FEEDBACK, joiner.on_feedback_received),
        (REVIEWS, joiner.on_review_decided),
        (MODELS, joiner.on_model_state_changed),
    ]
    for topic, handler in by_place:
        _agent(aggregator, topic, _placed(topic, handler))
    by_time: list[tuple[Topic, Callable[[Any, int, float], None]]] = [
        (TRAINING_PROGRESS, analyst.on_training_progressed),
        (CANDIDATES, analyst.on_candidate_trained),
        (VERDICTS, partial(_on_verdict, analyst)),
    ]
    for topic, timed in by_time:
        _agent(aggregator, topic, _timed(topic, timed))
    _agent(aggregator, OUTCOMES, lambda record: analyst.on_fact(read_fact(record.value), record.partition, time.time()))


def _on_verdict(analyst: Analyst, event: Event, partition: int, _: float) -> None:
    """Pass verdicts on; what became of a reviewer's decision asks for no training."""
    if isinstance(event, VerdictReached):
        analyst.on_verdict_reached(event, partition)


def _open(record: Any, topic: Topic) -> Event:
    event = unseal(record.value, record.headers or (), topic)
    EVENTS_IN.labels(APP, type(event).__name__).inc()
    return event


def _placed(topic: Topic, handler: Callable[[Any, Place], None]) -> Handle:
    return lambda record: handler(_open(record, topic), Place(topic.name, record.partition, record.offset))


def _timed(topic: Topic, handler: Callable[[Any, int, float], None]) -> Handle:
    return lambda record: handler(_open(record, topic), record.partition, time.time())


def _agent(aggregator: Aggregator, topic: Topic, handle: Handle) -> None:
    async def consume(stream: Any) -> None:
        records = stream.noack()
        async for event in records.events():
            crash_point("aggregator.after_poll")
            _guarded(aggregator.outbox, event.message, handle)
            await aggregator.outbox.hold(event.message, partial(records.ack, event))

    name = f"{APP}.{topic.name}"
    aggregator.app.agent(_channel(aggregator.app, aggregator.bus.name(topic)), name=name)(consume)


def _guarded(outbox: Outbox, record: Any, handle: Handle) -> None:
    """Faust acknowledges and skips a record whose handler raises, so nothing may be raised: put it aside instead."""
    try:
        handle(record)
    except InvalidEventError as error:
        outbox.put_aside(record, error.code, error.detail)
    except Exception as error:
        outbox.put_aside(record, "handler_error", type(error).__name__)
        logger.error(
            "handler_error",
            error=type(error).__name__,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
