"""From plain JSON to typed bodies: one object or a list of them, the first fault of each told with its field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from schemas.events import MAX_BODY
from shared.errors import RequestError
from shared.http.problems import path_of

MAX_ITEMS = 500
MAX_ITEM = MAX_BODY  # bytes; two texts of 10,000 characters in any script but the rarest
Body = TypeVar("Body")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shape(Generic[Body]):
    """What a route's bodies look like.

    `tag` names the field that tells the kinds of a union apart. `newer`, where there is one, takes bodies whose
    `schema_version` is greater than `version`.
    """

    adapter: TypeAdapter[Body]
    tag: str | None = None
    newer: TypeAdapter[Body] | None = None
    version: int = 1

    def of(self, value: dict[str, Any]) -> TypeAdapter[Body]:
        """What takes this body."""
        if self.newer is not None and type(version := value.get("schema_version")) is int and version > self.version:
            return self.newer
        return self.adapter


def validate(shape: Shape[Body], value: Any, strict: bool = False) -> Body:
    """Check one object; with `strict`, fields that a body keeps without knowing them are refused too.

    Raises:
        RequestError: 422 with the rule that was broken; the detail holds no value that was sent.
    """
    if not isinstance(value, dict):
        raise RequestError(422, "object_type", "A JSON object is expected here.")
    adapter = shape.of(value)
    try:
        body: Body = adapter.validator.validate_python(value)  # `TypeAdapter.validate_python` looks for a schema first
    except ValidationError as error:
        raise _refusal(error, shape.tag if adapter is shape.adapter else None) from None
    if strict and (unknown := getattr(body, "model_extra", None)):
        raise RequestError(422, "extra_forbidden", "This field is not known.", path_of((next(iter(unknown)),)))
    return body


def _refusal(error: ValidationError, tag: str | None) -> RequestError:
    first = error.errors(include_url=False, include_input=False)[0]
    rule, path, detail = first["type"], first["loc"], first["msg"]
    if rule.startswith("union_tag_"):  # pydantic's sentence would repeat the tag that was sent
        expected = first.get("ctx", {}).get("expected_tags")
        detail = f"'{tag}' must be one of {expected}" if expected else f"'{tag}' is missing"
        path = (tag or "?",)
    elif tag:
        path = path[1:]  # a tagged union puts the tag in front
    return RequestError(422, rule, f"{detail}.", path_of(path))


def each(items: list[Any], size: int, read: Callable[[Any], Item]) -> list[Item | RequestError]:
    """Read a list of 1 to 500 items that took `size` bytes together: each becomes what `read` makes, or its refusal.

    Raises:
        RequestError: the list is empty or too long.
    """
    if not items:
        raise RequestError(400, "empty_list", "The list is empty.")
    if len(items) > MAX_ITEMS:
        raise RequestError(413, "too_many_items", f"The list has more than {MAX_ITEMS} items; send it in parts.")
    found: list[Item | RequestError] = []
    for item in items:
        try:
            check_size(item, size)
            found.append(read(item))
        except RequestError as error:
            found.append(error)
    return found


def check_size(item: Any, size: int) -> None:
    """Refuse an item of more than 64 KiB, out of a body of `size` bytes.

    Raises:
        RequestError: 413 `too_large`.
    """
    if size > MAX_ITEM and len(json.dumps(item, ensure_ascii=False).encode()) > MAX_ITEM:
        raise RequestError(413, "too_large", f"An event is larger than {MAX_ITEM} bytes.")
