"""The spool's thread: requests that wait at the same time share one transaction, and so one fsync.

While it runs the next ones gather, so that a group is as large as the disk is slow: no timer, no wasted wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from prometheus_client import Gauge

from services.collector.spool_file import PAGE_BYTES, Row, Spooled, SpoolFile, row
from shared.envelope import Outgoing
from shared.errors import UnavailableError

SPOOL_BYTES = Gauge("learnback_spool_bytes", "Bytes in use in the spool's file")
SPOOL_EVENTS = Gauge("learnback_spool_events", "Events that are durable here and not yet in Kafka")
SPOOL_OLDEST = Gauge("learnback_spool_oldest_seconds", "How long the oldest event has been in the spool")

MAX_WAITING = 16 * 1024 * 1024  # bytes of requests that wait for the disk; with more, it does not keep up
GROUP = 1_000  # rows, about, in one transaction: more would make the first of them wait
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Job:
    """One request to the thread: rows to keep, or something to do with the file."""

    future: asyncio.Future[Any]
    rows: Sequence[Row] = ()
    work: Callable[[SpoolFile], Any] | None = None


class Spool:
    """The spool. All methods belong to the event loop."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open it; `FatalError` as `SpoolFile`."""
        self._file = SpoolFile(path, limit_bytes)
        self._fullness, self._oldest = 0.0, self._file.oldest
        self._events = self._file.events
        self._waiting = 0
        self._failed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._look()
        SPOOL_EVENTS.set_function(lambda: self._events)
        SPOOL_OLDEST.set_function(self._age)
        self._thread = threading.Thread(target=self._live, name="spool", daemon=True)
        self._thread.start()

    @property
    def events(self) -> int:
        """Events kept, with those that are just being written: who comes after them must queue behind."""
        return self._events

    @property
    def fullness(self) -> float:
        """0 to 1."""
        return self._fullness

    @property
    def has_room(self) -> bool:
        """Whether it took what it got last, and is not full."""
        return not self._failed and self._fullness < 1

    async def put(self, records: Sequence[Outgoing], user_keys: Sequence[str | None]) -> None:
        """Return when all records are on the disk. Raises as `SpoolFile.keep`."""
        now = time.time()
        rows = [row(record, user_key, now) for record, user_key in zip(records, user_keys, strict=True)]
        size = sum(record.size for record in records)
        if self._waiting + size > MAX_WAITING:
            raise UnavailableError("Too many events wait for the spool's disk; send it again.")
        self._waiting += size
        self._events += len(rows)
        job = _Job(asyncio.get_running_loop().create_future(), rows)
        job.future.add_done_callback(lambda done: self._on_put(done, size, len(rows)))
        self._jobs.put(job)
        await asyncio.shield(job.future)

    def _on_put(self, done: asyncio.Future[None], size: int, count: int) -> None:
        self._waiting -= size
        if done.exception() is not None:
            self._events -= count

    async def head(self, count: int) -> list[Spooled]:
        """The oldest events, in the order in which they came."""
        return await self._do(lambda file: file.head(count))

    async def remove(self, spooled: Sequence[Spooled]) -> None:
        """Take out events that the broker has."""
        removed = await self._do(lambda file: file.remove(spooled))
        self._events -= removed  # after the wait: others count meanwhile

    async def erase(self, user_key: str) -> int:
        """Empty a user's events, every byte of them; returns how many there were."""
        return await self._do(lambda file: file.erase(user_key))

    async def close(self) -> None:
        """Finish what waits, and close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _do(self, work: Callable[[SpoolFile], Answer]) -> Answer:
        job = _Job(asyncio.get_running_loop().create_future(), work=work)
        self._jobs.put(job)
        answer: Answer = await asyncio.shield(job.future)
        return answer

    def _age(self) -> float:
        return 0.0 if self._oldest is None else max(0.0, time.time() - self._oldest)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        going = True
        while going:
            jobs, going = self._gather()
            puts = [job for job in jobs if job.work is None]
            if puts:
                self._settle(puts, partial(_keep, puts))
            for job in jobs:
                if job.work is not None:
                    self._settle([job], job.work)
        self._file.close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """All that waits, to a limit; False with it when nothing comes after."""
        jobs: list[_Job] = []
        rows = 0
        while not jobs or (rows < GROUP and not self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                return jobs, False
            jobs.append(job)
            rows += len(job.rows)
        return jobs, True

    def _settle(self, jobs: list[_Job], work: Callable[[SpoolFile], Any]) -> None:
        answer, error = None, None
        try:
            answer = work(self._file)
        except (UnavailableError, sqlite3.Error) as failure:
            error = failure if isinstance(failure, UnavailableError) else UnavailableError("The spool's disk failed.")
        self._note(error)
        self._look()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            jobs[0].future.get_loop().call_soon_threadsafe(_tell, jobs, answer, error)

    def _note(self, error: Exception | None) -> None:
        """Log the change, not each request that it refuses."""
        if self._failed != (error is not None):
            self._failed = error is not None
            structlog.get_logger().error("spool_refuses" if error else "spool_takes", reason=str(error or ""))

    def _look(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # the last known figures stay
            self._fullness, self._oldest = self._file.fullness, self._file.oldest
            SPOOL_BYTES.set(self._file.pages * PAGE_BYTES)


def _keep(jobs: list[_Job], file: SpoolFile) -> None:
    file.keep(line for job in jobs for line in job.rows)


def _tell(jobs: list[_Job], answer: Any, error: Exception | None) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(answer)
        else:
            job.future.set_exception(error)
