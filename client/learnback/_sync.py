"""The client for apps with threads, and for scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx

from learnback._errors import UnavailableError
from learnback._outbox import Stats
from learnback._predictions import Prediction, answer, question, url_of
from learnback._shared import CAPACITY, TIMEOUT_S, Options
from learnback._voice import Voice
from learnback._worker import EXIT_S, Worker

NOTHING = Stats(0, 0, 0, 0, 0)


class Client(Voice[str]):
    """Sends events in the background; safe to share between threads and to use after a fork.

    Raises:
        ValueError: an address is none.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        predictor_url: str | None = None,
        raise_errors: bool = False,
        capacity: int = CAPACITY,
        timeout: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client.

        Args:
            url: the collector's address.
            key: the app's API key.
            predictor_url: the predictor's address, for `predict`.
            raise_errors: tell the app of lost events by errors, instead of by `stats` and the log alone.
            capacity: how many events wait at most; more are dropped.
            timeout: seconds for one request.
            transport: where requests go, for tests.
        """
        self._options = Options(url, key, predictor_url, raise_errors)
        self._capacity, self._timeout, self._transport = capacity, timeout, transport
        self._told = NOTHING
        self._own = self._start()

    @property
    def stats(self) -> Stats:
        """What became of the events: sent == accepted + rejected + dropped + pending."""
        return self._worker.stats

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing is pending; False when the time (seconds) was too short.

        Raises:
            DroppedError: with `raise_errors`, events were lost since the last look.
        """
        done = self._worker.flush(timeout)
        self._check()
        return done

    def close(self, timeout: float | None = EXIT_S) -> None:
        """Flush, then drop what is left.

        Raises:
            DroppedError: with `raise_errors`, events were lost since the last look.
        """
        self._worker.close(timeout)
        self._check()

    def predict(
        self,
        model: str,
        input: str,
        *,
        prediction_id: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Ask the predictor.

        Raises:
            RefusedError: the request is wrong.
            UnavailableError: the predictor is away; try again.
            LearnbackError: there is no `predictor_url`, or something else answers there.
        """
        url = url_of(self._options.predictor_url)
        try:
            response = self._worker.http.post(url, json=question(model, input, prediction_id, user, tags))
        except httpx.HTTPError as error:
            raise UnavailableError(f"The predictor is away ({type(error).__name__}).") from error
        return answer(response)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _worker(self) -> Worker:
        if self._own.pid != os.getpid():
            self._own, self._told = self._start(), NOTHING
        return self._own

    def _start(self) -> Worker:
        options = self._options
        http = httpx.Client(
            base_url=options.url, headers=options.headers, timeout=self._timeout, transport=self._transport
        )
        return Worker(http, self._capacity)

    def _say(self, path: str, event_id: str | None, body: Callable[[], Mapping[str, Any]]) -> str:
        worker = self._worker
        event_id, event = self._options.write(path, event_id, body)
        if event is None:
            worker.refuse()
        elif not worker.put(event):
            self._options.full(worker.stats)
        return event_id

    def _check(self) -> None:
        before, self._told = self._told, self._worker.stats
        self._options.check(before, self._told)
