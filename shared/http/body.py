"""Strict JSON bodies: what was sent is read to a limit, and is plain finite JSON in clean Unicode, or it is refused.

The framework's own reader takes 20 MB, lets NaN and the last of two equal keys through, and falls over (500) on deep
nesting and lone surrogates; so the services read bodies here.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from typing import Any

from pydantic_core import PydanticCustomError
from starlette.requests import Request

from schemas.events import storable
from shared.errors import RequestError
from shared.http.problems import path_of

MAX_BODY = 1024 * 1024  # 500 ordinary events are 200 kB
MAX_DEPTH = 32  # our deepest body has 5 levels
MAX_DIGITS = 19  # of an integer: 64 bits; Python would take minutes for a million
READ_S = 30.0  # a phone on a bad line sends 1 MiB in this; a slow-loris does not get to stay


async def read_json(request: Request, limit: int = MAX_BODY) -> Any:
    """Read the request's body as JSON.

    Raises:
        RequestError: as `read_body` and `parse_json`.
    """
    return parse_json(await read_body(request, limit))


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """Read the request's body, unpacked, when it says that it is JSON.

    Raises:
        RequestError: 400, 408, 413 or 415, with the reason.
    """
    _check_content_type(request)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise RequestError(
            415,
            "unsupported_encoding",
            "Send the body plain or with Content-Encoding: gzip.",
            headers={"Accept-Encoding": "gzip, identity"},
        )
    try:
        async with asyncio.timeout(READ_S):
            raw = await _read(request, limit)
    except TimeoutError:
        raise RequestError(408, "slow_body", f"The body did not arrive within {READ_S:.0f} s.") from None
    return _inflate(raw, limit) if encoding == "gzip" and raw else raw


def parse_json(raw: bytes) -> Any:
    """Parse strict JSON.

    Raises:
        RequestError: 400, with the reason and, where there is one, the field.
    """
    if not raw.strip():
        raise RequestError(400, "empty_body", "The body is empty; send JSON.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise RequestError(400, "invalid_utf8", f"Byte {error.start} of the body is not UTF-8.") from None
    if text.startswith("\ufeff"):
        raise RequestError(400, "invalid_utf8", "The body starts with a byte order mark; send plain UTF-8.")
    try:
        value = _DECODER.decode(text)
    except RecursionError:  # a thousand levels
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise RequestError(
            400, "invalid_json", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    _check_depth(value)
    if "\\u" in text:  # only an escape can write NUL or a lone surrogate into valid UTF-8 JSON
        _check_unicode(value, ())
    return value


def _check_content_type(request: Request) -> None:
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters)
    if kind.strip() != "application/json" or (charset and charset[1] not in ("utf-8", "utf8")):
        raise RequestError(415, "unsupported_media_type", "Send Content-Type: application/json, in UTF-8.")


async def _read(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < MAX_DIGITS and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _inflate(raw: bytes, limit: int) -> bytes:
    """Unpack gzip to at most `limit` bytes, whatever it would grow to; one member, since thousands would take long."""
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = stream.decompress(raw, limit + 1)
    except zlib.error:
        raise _bad_encoding() from None
    if len(body) > limit:
        raise _too_large(limit)
    if not stream.eof or stream.unused_data:
        raise _bad_encoding()
    return body


def _check_depth(value: Any) -> None:
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):  # level by level; nothing of ours has more than five
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not layer:
            return
    raise _too_deep()


def _too_deep() -> RequestError:
    return RequestError(400, "too_deep", f"The body is nested deeper than {MAX_DEPTH} levels.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(400, "duplicate_key", "An object has the same key twice.", path_of((twice,)))
    return found


def _non_finite(_: str) -> float:
    raise RequestError(400, "non_finite", "The body holds NaN, Infinity or a number beyond double precision.")


def _float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _non_finite(digits)


def _int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise RequestError(400, "huge_integer", f"The body holds an integer of more than {MAX_DIGITS} digits.")
    return int(digits)


# Made once: `json.loads` with hooks makes one for each body, which takes as long as to read a small one.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_non_finite, parse_float=_float, parse_int=_int)


def _check_unicode(value: Any, path: tuple[int | str, ...]) -> None:
    match value:
        case str():
            try:
                storable(value)
            except PydanticCustomError as error:
                index, field = (path[0], path[1:]) if path and isinstance(path[0], int) else (None, path)
                raise RequestError(400, error.type, error.message(), path_of(field), index) from None
        case dict():
            for name, inner in value.items():
                _check_unicode(name, path)
                _check_unicode(inner, (*path, name))
        case list():
            for index, inner in enumerate(value):
                _check_unicode(inner, (*path, index))


def _too_large(limit: int) -> RequestError:
    return RequestError(413, "too_large", f"The body is larger than {limit} bytes; send it in parts.")


def _bad_encoding() -> RequestError:
    return RequestError(400, "bad_encoding", "The body is not the gzip that Content-Encoding promises.")
