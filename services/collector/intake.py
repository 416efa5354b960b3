"""What every route does with its events: repeats are told apart, the new ones made durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Counter

from schemas.events import EventQuarantined, TrainingRequested, UserErased
from services.collector.reading import Read
from services.collector.receipts import Receipt
from services.collector.window import Window
from shared.crash import crash_point
from shared.envelope import Sealed
from shared.errors import ListRefusedError, RequestError
from shared.http.problems import Problem, problem_of
from shared.log import Kept, Log

OUTCOMES = Counter(
    "learnback_ingest_outcomes_total", "Events accepted, repeated, and refused by reason", ["outcome", "reason"]
)
ACCEPTED = OUTCOMES.labels("accepted", "durable")
QUARANTINED = OUTCOMES.labels("quarantined", "unknown_version")
SPOOLED = OUTCOMES.labels("spooled", "kafka_away")  # accepted too: durable, and on their way
DUPLICATE = OUTCOMES.labels("duplicate", "same_content")

Item = Read | RequestError


@dataclass
class Sorted:
    """What the items of a request are: new events, repeats by their index, or refused."""

    events: list[Sealed] = field(default_factory=list)
    contents: dict[str, int] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    errors: list[RequestError] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    request_id: str | None = None
    user_key: str | None = None
    server_id: bool = False
    kept: Kept = field(default_factory=Kept)


def sort(items: Sequence[Item], window: Window) -> Sorted:
    """Tell which events are new."""
    found = Sorted()
    for index, item in enumerate(items):
        try:
            _place(found, index, item, window)
        except RequestError as error:
            found.errors.append(error.at(index))
    return found


def _place(found: Sorted, index: int, item: Item, window: Window) -> None:
    if isinstance(item, RequestError):
        raise item
    event, own_id, warnings = item
    if own_id is None:  # a made id is new by itself
        found.server_id = True
        found.events.append(event)
    elif _is_new(found, event, window):
        found.events.append(event)
    else:
        found.repeated.append(index)
    found.ids.append(own_id or event.event_id)
    if warnings:
        found.warnings.update(warnings)
    if event.event_type is TrainingRequested:
        found.request_id = event.event_id
    elif event.event_type is UserErased:
        found.user_key = event.user_key


def _is_new(found: Sorted, event: Sealed, window: Window) -> bool:
    event_id, content = event.event_id, event.content
    known = found.contents.get(event_id)
    if known is None:
        known = window.content(event_id)
    if known is not None and known != content:
        raise RequestError(
            409, "id_conflict", "An event with this id says something else; the first stays.", "event_id"
        )
    found.contents.setdefault(event_id, content)
    return known is None


class Taken(NamedTuple):
    """What a request comes to."""

    status: int
    receipt: Receipt
    kept: Kept


@dataclass(frozen=True)
class Intake:
    """The log, and what was put there lately."""

    log: Log
    window: Window

    async def take(self, item: Read) -> Taken:
        """Make one event durable.

        Raises:
            RequestError: 409, its id is that of an event that says something else.
            UnavailableError: it is not known to be durable.
        """
        found = await self._store([item])
        for error in found.errors:
            raise error.at(None)
        repeated = bool(found.repeated)
        return Taken(200 if repeated else 202, _receipt(found, duplicate=repeated or None), found.kept)

    async def take_list(self, items: Sequence[Item]) -> Taken:
        """Make the good items of a list durable.

        Raises:
            ListRefusedError: there is no good item.
            UnavailableError: they are not known to be durable.
        """
        found = await self._store(items)
        if not found.ids:
            raise ListRefusedError(found.errors)
        errors = [problem_of(error) for error in found.errors]
        count(*errors)
        status = 207 if errors else 202 if found.events else 200
        return Taken(status, _receipt(found, duplicates=found.repeated or None, errors=errors or None), found.kept)

    async def _store(self, items: Sequence[Item]) -> Sorted:
        crash_point("collector.after_parse")
        found = sort(items, self.window)
        if found.events:
            found.kept = await self.log.append(found.events)
            crash_point("collector.after_ack")
            self.window.remember(found.contents)
            (ACCEPTED if found.kept.where == "broker" else SPOOLED).inc(len(found.events))
            if "unknown_version" in found.warnings:
                QUARANTINED.inc(sum(one.event_type is EventQuarantined for one in found.events))
        if found.repeated:
            DUPLICATE.inc(len(found.repeated))
        return found


def _receipt(found: Sorted, **told: object) -> Receipt:
    return Receipt.model_validate(
        {
            "accepted": len(found.ids),
            "event_ids": found.ids,
            "server_id": found.server_id,
            "request_id": found.request_id,
            "user_key": found.user_key,
            "warnings": sorted(found.warnings) or None,
            **told,
        }
    )


def count(*problems: Problem) -> None:
    """Count what was refused, by reason; or could not be stored."""
    for problem in problems:
        OUTCOMES.labels("unavailable" if problem.status >= 500 else "refused", problem.code).inc()
