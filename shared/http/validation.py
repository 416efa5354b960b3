"""From plain JSON to typed bodies: one object or a list of them, the first fault told with its item and field."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.errors import RequestError
from shared.http.problems import path_of

MAX_ITEMS = 500
Body = TypeVar("Body")


def validate(adapter: TypeAdapter[Body], value: Any, index: int | None = None, tag: str | None = None) -> Body:
    """Check one object; `tag` names the field that tells the kinds of a union apart.

    Raises:
        RequestError: 422 with the rule that was broken; the detail holds no value that was sent.
    """
    if not isinstance(value, dict):
        raise RequestError(422, "object_type", "A JSON object is expected here.", event_index=index)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        rule, path, detail = first["type"], first["loc"], first["msg"]
        if rule.startswith("union_tag_"):  # pydantic's sentence would repeat the tag that was sent
            expected = first.get("ctx", {}).get("expected_tags")
            detail = f"'{tag}' must be one of {expected}" if expected else f"'{tag}' is missing"
            path = (tag or "?",)
        elif tag:
            path = path[1:]  # a tagged union puts the tag in front
        raise RequestError(422, rule, f"{detail}.", path_of(path), index) from None


def validate_items(adapter: TypeAdapter[Body], value: Any, tag: str | None = None) -> list[Body]:
    """Check one object, or a list of 1 to 500; a list is refused as a whole.

    Raises:
        RequestError: as `validate`, and for a list that is empty or too long.
    """
    if not isinstance(value, list):
        return [validate(adapter, value, tag=tag)]
    if not value:
        raise RequestError(400, "empty_list", "The list is empty.")
    if len(value) > MAX_ITEMS:
        raise RequestError(413, "too_many_items", f"The list has more than {MAX_ITEMS} items; send it in parts.")
    return [validate(adapter, item, index, tag) for index, item in enumerate(value)]
