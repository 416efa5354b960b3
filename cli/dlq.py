"""`learnback dlq`: what services could not take, why, and how to send it again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
from sqlalchemy import Engine, inspect, select
from sqlmodel import col

from shared.errors import BadInputError
from shared.kafka import Bus
from shared.letters import Letter, mark_redriven, read
from shared.settings import Platform, load
from shared.tables import FeedbackRow, Prediction, Request, Review, open_database
from shared.topics import DEAD_LETTERS, QUARANTINE, Topic

COLUMNS = ("put aside", "reason", "service", "tries", "bytes", "sent again", "id")


@dataclass(frozen=True)
class Shelved:
    """A letter and the record that it came in."""

    letter: Letter
    record: Any
    topic: Topic


@click.group()
def dlq() -> None:
    """Look at dead letters and the quarantine, and send records again."""


def _filters(command: Any) -> Any:
    for name, what in (("reason", "why"), ("service", "who put it aside"), ("topic", "where it came from")):
        command = click.option(f"--{name}", help=f"Only these: {what}.")(command)
    return command


@dlq.command(name="list")
@_filters
def list_(reason: str | None, service: str | None, topic: str | None) -> None:
    """List what was put aside, oldest first."""
    found = [one.letter for one in shelved(Bus.of(load(Platform))) if _matches(one.letter, reason, service, topic)]
    rows = [COLUMNS, *(_row(letter) for letter in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows if found else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"{len(found)} put aside." if found else "Nothing was put aside.")


@dlq.command()
@click.argument("letter_id")
@click.option("--payload", is_flag=True, help="Print the record's bytes too: they are a user's words.")
def show(letter_id: str, payload: bool) -> None:
    """Show where a record came from, and why it is here. LETTER_ID is as `dlq list` says."""
    letter = _find(shelved(Bus.of(load(Platform))), letter_id).letter
    told = {
        "id": letter.id,
        "shelf": "quarantine" if letter.quarantined else "dead letters",
        "topic": letter.original.topic,
        "partition": letter.original.partition,
        "offset": letter.original.offset,
        "service": f"{letter.service} {letter.version}".strip(),
        "reason": letter.reason,
        "error": letter.error,
        "attempts": letter.attempts,
        "event_id": letter.event_id,
        "said at": letter.said_at,
        "put aside": letter.written_at,
        "sent again": "yes" if letter.redriven else "no",
        "bytes": len(letter.original.value or b"") if letter.whole else "too long for a letter; see its place",
    }
    for name, value in told.items():
        click.echo(f"{name:<10} {value}")
    if payload:
        sys.stdout.buffer.write((letter.original.value or b"") + b"\n")
        sys.stdout.buffer.flush()


@dlq.command()
@click.argument("letter_ids", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All that match, without naming them.")
@click.option("--again", is_flag=True, help="Also what was sent again before.")
def redrive(
    letter_ids: tuple[str, ...],
    reason: str | None,
    service: str | None,
    topic: str | None,
    everything: bool,
    again: bool,
) -> None:
    """Send records to where they came from, as they were. What is stored already is passed over."""
    if bool(letter_ids) == everything:
        raise BadInputError("which", "Name the letters to send again, or say --all (with filters, if you like).")
    platform = load(Platform)
    bus, engine = Bus.of(platform), open_database(platform.database)
    known = list(shelved(bus))
    chosen = [_find(known, one) for one in letter_ids] or known
    chosen = [one for one in chosen if _matches(one.letter, reason, service, topic)]
    sent = 0
    with bus.publisher() as publisher:
        for one in chosen:
            if hindrance := _hindrance(bus, engine, one.letter, again):
                click.echo(f"passed over: {one.letter.id} ({hindrance})")
                continue
            publisher.send_back(one.letter)
            publisher.send(mark_redriven(one.record, one.topic))
            sent += 1
    engine.dispose()
    click.echo(f"{sent} of {len(chosen)} sent again.")


def shelved(bus: Bus) -> Iterator[Shelved]:
    """The newest letter of each record that was not taken back, oldest first."""
    newest: dict[tuple[str, bytes], Any] = {}
    with bus.follower(DEAD_LETTERS, QUARANTINE) as follower:
        for record in follower.catch_up():
            newest[record.topic, record.key] = record
    for record in sorted(newest.values(), key=lambda one: (one.timestamp, one.offset)):
        if record.value is not None:
            topic = bus.topic(record.topic)
            yield Shelved(read(record, quarantined=topic is QUARANTINE), record, topic)


def _row(letter: Letter) -> tuple[str, ...]:
    size = str(len(letter.original.value or b"")) if letter.whole else "too long"
    at = letter.written_at.strftime("%Y-%m-%d %H:%M:%S")
    return at, letter.reason, letter.service, str(letter.attempts), size, "yes" if letter.redriven else "", letter.id


def _matches(letter: Letter, reason: str | None, service: str | None, topic: str | None) -> bool:
    wanted = (reason or letter.reason, service or letter.service)
    return (letter.reason, letter.service) == wanted and (topic or "") in letter.original.topic


def _find(known: Sequence[Shelved] | Iterator[Shelved], letter_id: str) -> Shelved:
    for one in known:
        if one.letter.id == letter_id:
            return one
    raise BadInputError("no_letter", f"There is no dead letter {letter_id}; learnback dlq list shows them.")


def _hindrance(bus: Bus, engine: Engine, letter: Letter, again: bool) -> str:
    """Why a record is not sent again; empty when it is."""
    source = bus.find(letter.original.topic)
    if letter.redriven and not again:
        return "it was sent again before"
    if not letter.whole:
        return "it is too long for a letter; its record lies at its place"
    if source is None or source in (DEAD_LETTERS, QUARANTINE):
        return "it did not come from a topic of ours"
    if letter.event_id and _is_stored(engine, letter.event_id):
        return "its event id is stored"
    return ""


def _is_stored(engine: Engine, event_id: str) -> bool:
    tables = (Prediction, FeedbackRow, Review, Request)
    if not inspect(engine).has_table(str(Prediction.__tablename__)):
        return False
    with engine.connect() as connection:
        return any(
            connection.execute(select(col(table.event_id)).where(col(table.event_id) == event_id)).first()
            for table in tables
        )
