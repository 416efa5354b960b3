"""OpenAPI of routes that read their own bodies: the framework cannot see those, so each route says what it takes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.http.problems import MEDIA_TYPE, Problem
from shared.http.validation import MAX_ITEMS, Shape

_REFERENCE = "#/components/schemas/{model}"

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}},
    }
    for status, text in {
        400: "Not strict JSON: `code` tells which rule.",
        401: "No valid key.",
        403: "The key lacks the scope.",
        413: "Too large: send it in parts.",
        415: "Not JSON in UTF-8, or packed by something else than gzip.",
        422: "A field is wrong: `field`, `code` and, for a list, `event_index` tell which.",
        503: "Not durable now, and nothing was kept: send it again after `Retry-After`.",
        504: "Not known to be durable: send it again after `Retry-After`, with the same ids.",
    }.items()
}


def takes(shape: Shape[Any], many: bool = False) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is one object, or with `many` one or a list."""
    one = shape.adapter.json_schema(ref_template=_REFERENCE)
    definitions = one.pop("$defs", {})
    schema = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_ITEMS}]} if many else one
    content = {"application/json": {"schema": {**schema, "$defs": definitions}}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI) -> None:
    """Give the app an OpenAPI document in which the bodies' and the problem's schemas stand among the components."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            whole = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = whole.setdefault("components", {}).setdefault("schemas", {})
            components[Problem.__name__] = Problem.model_json_schema(ref_template=_REFERENCE)
            for operation in (operation for path in whole["paths"].values() for operation in path.values()):
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    components.update(content["schema"].pop("$defs", {}))
            app.openapi_schema = whole
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents
