"""Asking that a user be forgotten, and what was deleted: the id goes to the collector and is kept nowhere here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine, select
from sqlmodel import col

from schemas.events import Name
from services.board import decide
from services.board.database import records
from shared.errors import BadInputError
from shared.ids import new_id
from shared.tables import Receipt


class Erasure(BaseModel):
    """What `POST /v1/erasures` takes."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    user: str = Field(min_length=1, max_length=200)
    app: Name
    event_id: str = Field(default_factory=new_id)


def ask(user: str, app: str, url: str, key: str) -> str:
    """Ask the collector to erase a user of an app; the id of the request. It is an event when this returns.

    Raises:
        BadInputError: the app's name is none, or the collector refuses, in its words.
        UnavailableError: the collector is away or cannot take it now; nothing was erased.
    """
    try:
        erasure = Erasure(user=user, app=app)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadInputError("invalid_erasure", f"{error.errors()[0]['msg']}.", field) from None
    decide.send(erasure.model_dump_json(), url, "/v1/erasures", key)
    return erasure.event_id


def receipt(engine: Engine, asked: str) -> Receipt | None:
    """What was deleted for a request, when the recorder has done it. Ids are stored behind their app's."""
    found = records(engine, select(Receipt).where(col(Receipt.event_id).endswith(f".{asked}", autoescape=True)))
    return found[0] if found else None
