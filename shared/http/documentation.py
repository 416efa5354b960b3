"""OpenAPI of routes that read their own bodies: the framework cannot see those, so each route says what it takes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.http.problems import MEDIA_TYPE, ListProblem, Problem
from shared.http.validation import MAX_ITEMS, Shape

_REFERENCE = "#/components/schemas/{model}"


def headers(**told: str) -> dict[str, Any]:
    """Headers of an answer, `_` for `-`, and what each says."""
    return {name.replace("_", "-"): {"description": text, "schema": {"type": "string"}} for name, text in told.items()}


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}},
    }
    for status, text in {
        400: "Not strict JSON: `code` tells which rule.",
        401: "No valid key.",
        403: "The key lacks the scope.",
        408: "The body came too slowly: send it again.",
        413: "Too large: send it in parts.",
        415: "Not JSON in UTF-8, or packed by something else than gzip.",
        422: "A field is wrong: `field`, `code` and, for a list, `event_index` tell which.",
        503: "Not durable now, and nothing was kept: send it again after `Retry-After`.",
        504: "Not known to be durable: send it again after `Retry-After`, with the same ids.",
    }.items()
}


def lists(answer: dict[str, Any]) -> dict[str, Any]:
    """A refusal that, for a list without a good item, tells each item's problem."""
    kinds = [{"$ref": _REFERENCE.format(model=kind.__name__)} for kind in (ListProblem, Problem)]
    return {**answer, "content": {MEDIA_TYPE: {"schema": {"anyOf": kinds}}}}


def takes(shape: Shape[Any], many: bool = False, **asked: str) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is one object, or with `many` one or a list.

    `asked` are headers that it looks at, `_` for `-`, and what each does.
    """
    one = shape.adapter.json_schema(ref_template=_REFERENCE)
    definitions = one.pop("$defs", {})
    schema = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_ITEMS}]} if many else one
    content = {"application/json": {"schema": {**schema, "$defs": definitions}}}
    parameters = [{"name": name, "in": "header", **header} for name, header in headers(**asked).items()]
    return {"requestBody": {"required": True, "content": content}, "parameters": parameters}


def document(app: FastAPI) -> None:
    """Give the app an OpenAPI document in which the bodies' and the problem's schemas stand among the components."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            whole = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = whole.setdefault("components", {}).setdefault("schemas", {})
            for kind in (Problem, ListProblem):
                described = kind.model_json_schema(ref_template=_REFERENCE)
                components |= described.pop("$defs", {}) | {kind.__name__: described}
            for operation in (operation for path in whole["paths"].values() for operation in path.values()):
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    components.update(content["schema"].pop("$defs", {}))
            app.openapi_schema = whole
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents
