"""The wire, over real sockets: slow, endless and wrong requests end, and never take an answer that is another's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.http.server import configured, listen
from shared.http.wire import MAX_HEAD, Wire

WAIT_S = 20


class Hasty(Wire):
    """Waits less than the real one."""

    head_s = 0.3
    linger_s = 0.3


class Site:
    """A server on a port, whose answers can be held back; keeps the bodies that it got."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.go_on = threading.Event()
        self.arrived = threading.Event()
        listener = listen("127.0.0.1", 0)
        self.address = listener.getsockname()
        app = Starlette(routes=[Route("/", self.post, methods=["POST"]), Route("/early", self.early, methods=["POST"])])
        self.server = uvicorn.Server(configured(app, Hasty))
        self.thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self.thread.start()

    async def post(self, request: Request) -> Response:
        body = await request.body()
        self.bodies.append(body)
        self.arrived.set()
        await asyncio.to_thread(self.go_on.wait, WAIT_S)
        return PlainTextResponse(body)

    async def early(self, request: Request) -> Response:
        return PlainTextResponse("no", 413)

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, WAIT_S) as client:
            yield client


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.go_on.set()
    yield site
    site.go_on.set()
    site.server.should_exit = True
    site.thread.join(WAIT_S)


def post(body: bytes, *headers: str, path: str = "/") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def to_the_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65_536):
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_a_connection_that_says_nothing_is_closed(site: Site) -> None:
    with site.connection() as client:
        assert to_the_end(client) == b""


def test_a_slow_loris_does_not_get_to_stay(site: Site) -> None:
    with site.connection() as client:
        started = time.monotonic()
        client.sendall(b"POST / HTTP/1.1\r\n")
        client.settimeout(0.05)
        received = b""
        while time.monotonic() - started < WAIT_S:
            try:
                client.sendall(b"X-Slow: 1\r\n")
                received = client.recv(65_536)
                break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        assert statuses(received) in ([408], [])
        assert time.monotonic() - started < 5
    assert site.bodies == []


def test_line_ends_alone_do_not_keep_a_connection(site: Site) -> None:
    with site.connection() as client:
        client.sendall(b"\r\n")
        assert statuses(to_the_end(client)) == []
    with site.connection() as client:
        client.sendall(post(b"one"))
        client.settimeout(WAIT_S)
        assert statuses(client.recv(65_536)) == [200]
        client.sendall(b"\r\n")  # uvicorn forgets its keep-alive timer here
        assert to_the_end(client) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"X-Large: " + b"x" * MAX_HEAD + b"\r\n",
        b"".join(b"X-%d: 1\r\n" % number for number in range(3_000)),
        b"X-Endless: " + b"x" * 200_000,
    ],
)
def test_headers_beyond_16_kib_are_refused(site: Site, head: bytes) -> None:
    with site.connection() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(head), 4_096):
                client.sendall(head[start : start + 4_096])
            client.sendall(b"\r\n")
        assert statuses(to_the_end(client)) in ([431], [])  # a reset may overtake the answer
    assert site.bodies == []


def test_headers_beyond_16_kib_in_one_piece_are_told_so(site: Site) -> None:
    with site.connection() as client:
        client.sendall(post(b"", "X-Large: " + "x" * MAX_HEAD))
        received = to_the_end(client)
    assert statuses(received) == [431]
    assert b"application/problem+json" in received
    assert b'"code":"headers_too_large"' in received
    assert site.bodies == []


def test_headers_just_below_the_limit_are_taken(site: Site) -> None:
    with site.connection() as client:
        client.sendall(post(b"x" * 200_000, "X-Large: " + "x" * (MAX_HEAD - 200), "Connection: close"))
        assert statuses(to_the_end(client)) == [200]


def test_endless_trailers_end(site: Site) -> None:
    with site.connection() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(2_000):
                client.sendall(b"X-Trailer: " + b"x" * 500 + b"\r\n")
        assert statuses(to_the_end(client)) in ([431], [])
    assert site.bodies == []


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"{}\r\n\r\n"]
)
def test_what_is_no_http_is_told_so(site: Site, junk: bytes) -> None:
    with site.connection() as client:
        client.sendall(junk)
        received = to_the_end(client)
    assert statuses(received) == [400]
    assert b'"code":"malformed_request"' in received


def test_junk_behind_a_request_does_not_take_its_answer(site: Site) -> None:
    site.go_on.clear()
    with site.connection() as client:
        client.sendall(post(b"one") + b"\x00junk\r\n\r\n")
        assert site.arrived.wait(WAIT_S)
        site.go_on.set()
        assert statuses(to_the_end(client)) == [200]
    assert site.bodies == [b"one"]


def test_a_torn_request_behind_two_whole_ones_does_not_take_their_answers(site: Site) -> None:
    site.go_on.clear()
    torn = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    with site.connection() as client:
        client.sendall(post(b"one") + post(b"two") + torn)
        assert site.arrived.wait(WAIT_S)
        client.sendall(torn)
        site.go_on.set()
        assert statuses(to_the_end(client)) == [200, 200]
    assert site.bodies == [b"one", b"two"]


def test_a_too_large_request_behind_a_whole_one_does_not_take_its_answer(site: Site) -> None:
    site.go_on.clear()
    with site.connection() as client:
        client.sendall(post(b"one") + post(b"two") + post(b"", "X-Large: " + "x" * MAX_HEAD))
        assert site.arrived.wait(WAIT_S)
        site.go_on.set()
        assert statuses(to_the_end(client)) == [200, 200]
    assert site.bodies == [b"one", b"two"]


def test_a_torn_body_is_refused_and_nowhere(site: Site) -> None:
    with site.connection() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        assert statuses(to_the_end(client)) == [400]
    assert site.bodies == []


def test_requests_one_after_the_other_share_a_connection(site: Site) -> None:
    with site.connection() as client:
        client.sendall(post(b"one") + post(b"two") + post(b"three", "Connection: close"))
        assert statuses(to_the_end(client)) == [200, 200, 200]
    assert site.bodies == [b"one", b"two", b"three"]


def test_what_is_left_of_a_refused_body_is_not_read_for_ever(site: Site) -> None:
    with site.connection() as client:
        started = time.monotonic()
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert statuses(client.recv(65_536)) == [413]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - started < WAIT_S:
                client.sendall(b"x")
        assert time.monotonic() - started < 5


def test_a_slow_answer_is_waited_for(site: Site) -> None:
    site.go_on.clear()
    with site.connection() as client:
        client.sendall(post(b"one", "Connection: close"))
        threading.Timer(3 * Hasty.head_s, site.go_on.set).start()
        assert statuses(to_the_end(client)) == [200]
