"""The thread that sends: it takes batches from the outbox, and does not let go of one until it is settled."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque

import httpx

from learnback._delivery import Backoff, judge
from learnback._outbox import LINGER_S, Batch, Outbox, Queued, Stats

EXIT_S = 5.0  # what is not through this long after the app's end is dropped
JOIN_S = 0.5


class Worker:
    """One process's queue, thread and connections. A fork needs a worker of its own: threads do not come along."""

    def __init__(self, http: httpx.Client, capacity: int) -> None:
        self.http = http
        self.pid = os.getpid()
        self._outbox = Outbox(capacity)
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._hurried = 0
        self._thread: threading.Thread | None = None
        _WORKERS.add(self)

    @property
    def stats(self) -> Stats:
        """What became of the events so far."""
        with self._changed:
            return self._outbox.stats

    def put(self, event: Queued) -> bool:
        """Queue an event; False when there is no room."""
        with self._changed:
            added = self._outbox.add(event)
            if added and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="learnback", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return added

    def refuse(self) -> None:
        """Count an event that cannot be written."""
        with self._changed:
            self._outbox.refuse()

    def flush(self, timeout: float | None) -> bool:
        """Wait until nothing is pending; False when the time was too short."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._outbox.stats.pending == 0, timeout)
            finally:
                self._hurried -= 1

    def close(self, timeout: float | None) -> None:
        """Flush, then give up what is left, and end the thread."""
        self.flush(timeout)
        with self._changed:
            self._outbox.give_up()
            self._stopped.set()
            self._changed.notify_all()
        if self._thread is None:
            self.http.close()
        else:
            self._thread.join(JOIN_S)  # it closes the connections itself, so that none is pulled from under a request

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._deliver(batch)
        self.http.close()

    def _next(self) -> Batch | None:
        """The next batch, after others had time to join it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._outbox.empty or self._stopped.is_set())
            self._changed.wait_for(
                lambda: self._outbox.full_batch or self._hurried > 0 or self._stopped.is_set(), LINGER_S
            )
            return self._outbox.take()

    def _deliver(self, batch: Batch) -> None:
        rest, backoff = deque([batch]), Backoff()
        while rest:
            one = rest.popleft()
            outcome = judge(one, self._post(one))
            with self._changed:
                self._outbox.settle(outcome.accepted, outcome.rejected)
                self._changed.notify_all()
            rest.extendleft(reversed(outcome.rest))
            if self._stopped.wait(backoff.after(outcome)):
                return

    def _post(self, batch: Batch) -> httpx.Response | None:
        try:
            return self.http.post(batch.path, content=batch.content, headers={"Content-Type": "application/json"})
        except httpx.HTTPError:
            return None


_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    deadline = time.monotonic() + EXIT_S
    for worker in [*_WORKERS]:
        if worker.pid == os.getpid():  # what a parent queued is the parent's to send
            worker.close(max(0.0, deadline - time.monotonic()))
