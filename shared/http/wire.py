"""HTTP/1.1 on the wire, against those who send too slowly, too much, or no HTTP.

uvicorn's httptools protocol has a limit for neither the time nor the size of a request's head (its h11 protocol has one
for the size, at a third of the speed), reads on for ever what is left of a body that was answered early, and answers
junk behind a request at once, so that the request before it takes the 400 for its own and is stored all the same.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.http.problems import MEDIA_TYPE, problem

MAX_HEAD = 16 * 1024  # bytes of a request's line and headers; a browser with many cookies sends 8 KiB
HEAD_S = 10.0  # from the first byte, or the connection, to the last header
LINGER_S = 30.0  # what is left of a refused body is read for so long, since a client may read only when it has sent

_MALFORMED = (400, "malformed_request", "This is not HTTP/1.1.")
_LARGE = (431, "headers_too_large", f"The request's headers are larger than {MAX_HEAD} bytes.")
_LATE = (408, "slow_headers", "The request's headers did not arrive in time.")


class HeadTooLargeError(Exception):
    """Told to the parser, which passes it on as its own."""


class Wire(HttpToolsProtocol):
    """One connection."""

    head_s: ClassVar[float] = HEAD_S
    linger_s: ClassVar[float] = LINGER_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client is here: it has some seconds to say what it wants."""
        super().connection_made(transport)
        self._in_head = self._in_body = self._moved = self._ending = False
        self._stuck = self._head_most = self._chunk = 0
        self._fault = _MALFORMED
        self._timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes came; whether they got us anywhere shows afterwards."""
        if self._ending:  # the parser stands at junk
            return
        self._chunk, self._moved = len(data), False
        super().data_received(data)
        if self._in_head:
            self._head_most += self._chunk
        self._stuck = 0 if self._moved else self._stuck + self._chunk
        if self._stuck > MAX_HEAD and (self._in_head or self._in_body):  # an endless header, trailer or chunk line
            self._fail(_LARGE)
        elif self._in_head or self._idle:
            self._expect_head()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head = self._moved = True
        self._head_most = 0

    def on_headers_complete(self) -> None:
        """All headers are here."""
        self._in_head = False
        self._forget_timer()
        if self._head_most + self._chunk > MAX_HEAD and self._head_size() > MAX_HEAD:
            self._fault = _LARGE
            raise HeadTooLargeError
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out. The next request's turn, or the end."""
        last = self._ending and not self.pipeline
        super().on_response_complete()
        if last:
            self.transport.close()
        elif self._in_body and not self.pipeline:
            self._forget_timer()
            self._timer = self.loop.call_later(self.linger_s, self.transport.close)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's sentence; ours says more
        """Refuse what came last and end the connection; whole requests before it get their answers first."""
        if self.transport.is_closing():
            return
        if self._in_body and self.pipeline:
            self.pipeline.popleft()  # it waits behind another one, and will never be whole
        elif self._in_body and self.cycle is not None and self.cycle.response_started:
            self.transport.close()
            return
        elif self._in_body or self._idle:
            self._write(*self._fault)
            self.transport.close()
            return
        self._ending = True
        self.flow.pause_reading()

    @property
    def _idle(self) -> bool:
        """Whether every request so far has had its answer."""
        return not self._in_body and (self.cycle is None or self.cycle.response_complete)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._in_head:
            self._fail(_LATE)
        elif self._idle:
            self.transport.close()

    def _fail(self, fault: tuple[int, str, str]) -> None:
        self._fault = fault
        self.send_400_response(fault[2])

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, status: int, code: str, detail: str) -> None:
        body = problem(status, code, detail).model_dump_json().encode()
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
