"""A reviewer's decision on its way to the collector, which makes it an event."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.events import Id, Input, Label, Name, Note, Output
from shared.errors import BadInputError, ConfigError, UnavailableError

TIMEOUT_S = 5.0  # the collector answers when the broker has the event, in milliseconds


class Decision(BaseModel):
    """What a reviewer decides on, as `POST /v1/reviews` takes it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    subject_kind: Literal["example", "version", "label", "anchor"] = "example"
    subject: Id | None = None
    label: Label | None = None
    text: Input | None = None
    model: Name
    decision: Literal[
        "accept", "reject", "relabel", "promote", "rollback", "hold", "release", "merge", "retire", "restore", "add"
    ]
    target: Output | None = None
    prediction_id: Id | None = None
    reviewer: Name
    note: Note = ""


def decision(**fields: object) -> Decision:
    """Make a decision of what a reviewer gave.

    Raises:
        BadInputError: names the field that is wrong.
    """
    try:
        return Decision.model_validate(fields)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadInputError("invalid_decision", f"{field}: {error.errors()[0]['msg']}.", field) from None


def read_key(path: Path) -> str:
    """The API key with which the board speaks for reviewers.

    Raises:
        ConfigError: there is none, with what to do.
    """
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"No API key at {path}. Make one: learnback keys create board --scope review > {path} "
            "(LEARNBACK_BOARD_KEY_FILE names another file)."
        ) from None


def post(decided: Decision, url: str, key: str) -> None:
    """Send a decision; it is an event when this returns. Raises as `send`."""
    send(decided.model_dump_json(exclude_none=True), url, "/v1/reviews", key)


def send(body: str, url: str, path: str, key: str) -> None:
    """Post what a person decided; it is an event when this returns.

    Raises:
        BadInputError: the collector refuses it, in its words.
        UnavailableError: the collector is away or cannot take it now; nothing was decided.
    """
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}{path}",
            content=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=TIMEOUT_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(
            f"The collector at {url} does not answer ({type(error).__name__}). Is it running?"
        ) from None
    if answer.is_success:
        return
    if answer.is_client_error:
        raise _refusal(answer)
    raise UnavailableError(
        f"The collector at {url} could not take the decision (HTTP {answer.status_code}). Try again."
    )


def _refusal(answer: httpx.Response) -> BadInputError:
    """The `problem+json` of a refusal (RFC 9457) as an error."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    said = problem if isinstance(problem, dict) else {}
    detail = (
        said.get("detail") or said.get("title") or f"The collector refused the decision (HTTP {answer.status_code})."
    )
    return BadInputError(str(said.get("code", "refused")), str(detail), said.get("field"))
