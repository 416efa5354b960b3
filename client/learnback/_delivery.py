"""What an answer means for the events that were sent, and when to send them again. Pure."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass

import httpx

from learnback._errors import RefusedError
from learnback._outbox import Batch

FIRST_S, MOST_S = 0.1, 10.0  # back-off doubles from one to the other
RETRY_AFTER_MOST_S = 60.0
AGAIN = frozenset({408, 429})

logger = logging.getLogger("learnback")


@dataclass(frozen=True)
class Outcome:
    """What one request brought: events that are settled, and batches to send (again)."""

    accepted: int = 0
    rejected: int = 0
    rest: tuple[Batch, ...] = ()
    wait: bool = False
    retry_after_s: float = 0.0


@dataclass
class Backoff:
    """How long to wait before the next try."""

    tries: int = 0

    def after(self, outcome: Outcome) -> float:
        """Seconds to wait; exponential with jitter, and never less than the service asks for."""
        if not outcome.wait:
            self.tries = 0
            return 0.0
        longest = min(MOST_S, FIRST_S * float(1 << min(self.tries, 10)))
        self.tries += 1
        return max(outcome.retry_after_s, longest * random.uniform(0.5, 1))


def judge(batch: Batch, response: httpx.Response | None) -> Outcome:
    """What an answer, or None for a broken connection, means for the batch.

    An answer that names refused items settles all of them, and the others are taken when it is a success. A body that
    is refused for one item without a look at the others is sent again without it; one that is too large, in halves.
    """
    if response is None:
        return Outcome(rest=(batch,), wait=True)
    told = problem(response)
    if refusals := _refusals(told, len(batch.events)):
        return _by_item(batch, response, refusals)
    if response.is_success:
        return Outcome(accepted=len(batch.events))
    if response.status_code >= 500 or response.status_code in AGAIN:
        return Outcome(rest=(batch,), wait=True, retry_after_s=_retry_after(response))
    count = len(batch.events)
    if response.status_code == 413 and count > 1:
        half = count // 2
        return Outcome(rest=(batch.only(*range(half)), batch.only(*range(half, count))))
    index = told.get("event_index")
    if isinstance(index, int) and 0 <= index < count:
        others = [other for other in range(count) if other != index]
        _log(batch.only(index), refusal(response))
        return Outcome(rejected=1, rest=(batch.only(*others),) if others else ())
    _log(batch, refusal(response))
    return Outcome(rejected=count)


def _refusals(told: dict[str, object], count: int) -> dict[int, dict[str, object]]:
    """The problems of single items, by the item."""
    listed = told.get("errors")
    errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
    places = ((error.get("event_index"), error) for error in errors)
    return {index: error for index, error in places if isinstance(index, int) and 0 <= index < count}


def _by_item(batch: Batch, response: httpx.Response, refusals: dict[int, dict[str, object]]) -> Outcome:
    """Give up the items that are refused; those that may be taken later go again, as all others after a failure."""
    again = {index for index, told in refusals.items() if told.get("retryable") is True}
    given_up = refusals.keys() - again
    for index in sorted(given_up):
        _log(batch.only(index), _error(refusals[index], response.status_code))
    others = set(range(len(batch.events))) - refusals.keys()
    rest = again if response.is_success else again | others
    return Outcome(
        accepted=len(others) if response.is_success else 0,
        rejected=len(given_up),
        rest=(batch.only(*sorted(rest)),) if rest else (),
        wait=bool(again),
        retry_after_s=_retry_after(response),
    )


def problem(response: httpx.Response) -> dict[str, object]:
    """The problem+json of an answer; empty when it is something else."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def refusal(response: httpx.Response) -> RefusedError:
    """The error that an answer is."""
    return _error(problem(response), response.status_code)


def _error(told: dict[str, object], status: int) -> RefusedError:
    named, own = told.get("field"), told.get("status")
    return RefusedError(
        str(told.get("code", f"http_{status}")),
        str(told.get("detail", "The service refused the request.")),
        str(named) if named else None,
        own if isinstance(own, int) else status,
    )


def _log(batch: Batch, error: RefusedError) -> None:
    logger.warning(
        "%d event(s) refused, the first is %s: %s (status %s, field %s)",
        len(batch.events),
        batch.events[0].event_id,
        error.code,
        error.status,
        error.field,
    )


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the service asks for; a date is left to the back-off."""
    try:
        return min(max(float(response.headers.get("retry-after", 0)), 0.0), RETRY_AFTER_MOST_S)
    except ValueError:
        return 0.0
