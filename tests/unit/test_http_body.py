"""Strict bodies: what is not plain, finite, clean JSON within the limits is refused with a reason, cheaply."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from shared.errors import RequestError
from shared.http import body
from shared.http.body import MAX_BODY, MAX_DEPTH, parse_json, read_json

REFUSED = [
    (b"", "empty_body"),
    (b" \n\t", "empty_body"),
    (b"{", "invalid_json"),
    (b"{'a': 1}", "invalid_json"),
    (b'{"a": 1,}', "invalid_json"),
    (b'"a', "invalid_json"),
    (b'"a\\', "invalid_json"),
    (b'{"a": "\x00"}', "invalid_json"),
    (b'{"a": "\xff"}', "invalid_utf8"),
    (b'{"a": "\xed\xa0\x80"}', "invalid_utf8"),
    (b"\xef\xbb\xbf{}", "invalid_utf8"),
    ('{"a": 1}'.encode("utf-16"), "invalid_utf8"),
    ('{"a": 1}'.encode("utf-16-le"), "invalid_json"),
    (b'{"a": NaN}', "non_finite"),
    (b'{"a": -Infinity}', "non_finite"),
    (b'{"a": 1e400}', "non_finite"),
    (b'{"a": 1, "a": 2}', "duplicate_key"),
    (b'{"a": ' + b"9" * 5000 + b"}", "huge_integer"),
    (b"-" + b"9" * 20, "huge_integer"),
    (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too_deep"),
    (b"[" * 500_000, "too_deep"),
    (b'{"a":' * 150_000, "too_deep"),
    (b'{"a": "\\ud800"}', "invalid_unicode"),
    (b'{"a": "\\udc00\\ud800"}', "invalid_unicode"),
    (b'{"a": "\\u0000"}', "invalid_unicode"),
    (b'{"\\u0000": 1}', "invalid_unicode"),
]


@pytest.mark.parametrize(("raw", "code"), REFUSED, ids=[f"{code}-{raw[:12]!r}" for raw, code in REFUSED])
def test_what_is_not_strict_json_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_json(raw)
    assert (refusal.value.status, refusal.value.code) == (400, code)


def test_the_place_of_a_fault_is_told() -> None:
    with pytest.raises(RequestError, match="line 2, column 6"):
        parse_json(b'{\n"a": oops}')
    with pytest.raises(RequestError) as refusal:
        parse_json(b'[{}, {"tags": {"x": "\\u0000"}}]')
    assert (refusal.value.event_index, refusal.value.field) == (1, "tags.x")


def test_brackets_and_escapes_in_strings_are_text() -> None:
    text = "[{" * 100 + '"\\' + "😀"
    assert parse_json(json.dumps({"a": text}).encode()) == {"a": text}
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(deepest) is not None


@pytest.mark.parametrize("unit", [b'"', b'"\\"', b"\\", b'"\\', b"[]", b"0,", b'"a"'])
def test_no_body_takes_long_to_refuse(unit: bytes) -> None:
    raw = b"[" + unit * (MAX_BODY // len(unit))
    started = time.monotonic()
    with pytest.raises(RequestError):
        parse_json(raw)
    assert time.monotonic() - started < 3  # quadratic scanning would take minutes


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner)
    ),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_clean_json_comes_through_as_it_is(value: object, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_refusal(raw: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse_json(raw)


class Upload:
    """A request whose chunks are counted as they are taken."""

    def __init__(self, chunks: list[bytes], headers: dict[str, str] | None = None) -> None:
        self.chunks = chunks
        self.taken = 0
        named = {"content-type": "application/json", **(headers or {})}
        scope = {"type": "http", "method": "POST", "headers": [(k.encode(), v.encode()) for k, v in named.items()]}
        self.request = Request(scope, self._receive)
        self._rest = self._messages()

    async def _messages(self) -> AsyncIterator[dict[str, object]]:
        for chunk in self.chunks:
            self.taken += 1
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    async def _receive(self) -> dict[str, object]:
        return await anext(self._rest)


async def refusal_of(upload: Upload) -> tuple[int, str]:
    with pytest.raises(RequestError) as refusal:
        await read_json(upload.request)
    return refusal.value.status, refusal.value.code


@pytest.mark.parametrize("announced", [{}, {"content-length": "10"}, {"content-length": "ten"}])
async def test_a_large_body_is_cut_off_by_counting(announced: dict[str, str]) -> None:
    upload = Upload([b" " * 65_536] * 320, announced)  # 20 MB
    assert await refusal_of(upload) == (413, "too_large")
    assert upload.taken == MAX_BODY // 65_536 + 1


async def test_a_body_that_announces_its_size_is_not_read_at_all() -> None:
    upload = Upload([b" " * 65_536] * 320, {"content-length": str(320 * 65_536)})
    assert await refusal_of(upload) == (413, "too_large")
    assert upload.taken == 0


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/json; charset=utf-16", "application/x-ndjson", "multipart/form-data"]
)
async def test_other_content_types_are_refused(kind: str) -> None:
    assert await refusal_of(Upload([b"{}"], {"content-type": kind})) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_is_taken(kind: str) -> None:
    assert await read_json(Upload([b'{"a"', b": 1}"], {"content-type": kind}).request) == {"a": 1}


async def test_gzip_is_unpacked() -> None:
    packed = gzip.compress(b'{"a": 1}')
    assert await read_json(Upload([packed[:7], packed[7:]], {"content-encoding": "gzip"}).request) == {"a": 1}


@pytest.mark.parametrize(
    ("encoding", "raw", "expected"),
    [
        ("gzip", b"{}", (400, "bad_encoding")),
        ("gzip", gzip.compress(b'{"a": 1}')[:-9], (400, "bad_encoding")),
        ("gzip", gzip.compress(b"{}") + b"more", (400, "bad_encoding")),
        ("gzip", b"", (400, "empty_body")),
        ("gzip", gzip.compress(b" " * 50_000_000), (413, "too_large")),
        ("gzip", gzip.compress(b"") * 30_000, (400, "bad_encoding")),
        ("br", b"{}", (415, "unsupported_encoding")),
        ("gzip, gzip", b"{}", (415, "unsupported_encoding")),
    ],
)
async def test_encodings(encoding: str, raw: bytes, expected: tuple[int, str]) -> None:
    assert await refusal_of(Upload([raw], {"content-encoding": encoding})) == expected


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError("never")

    monkeypatch.setattr(body, "READ_S", 0.05)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    with pytest.raises(RequestError) as refusal:
        await read_json(Request({"type": "http", "headers": headers}, receive))
    assert (refusal.value.status, refusal.value.code) == (408, "slow_body")
