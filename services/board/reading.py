"""How pages ask: one engine a database, and answers kept for a moment, since many browsers ask alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st
from sqlalchemy import Engine

from services.board import database
from shared.settings import Platform, load
from shared.tables import open_database

TTL_S = 2.0  # the live counters' pace: nothing on the board is older

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def ask(
    question: Callable[Concatenate[Engine, Arguments], Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """Put a question to the database, or give the answer of a moment ago."""
    url = load(Platform).database
    answer: Answer = _kept(url, f"{question.__module__}.{question.__qualname__}", args, kwargs, question)
    return answer


def trouble() -> str | None:
    """Why the database cannot be read, with what to do; None when it can."""
    return database.trouble(_engine(load(Platform).database))


@st.cache_resource(show_spinner=False, max_entries=4)
def _engine(url: str) -> Engine:
    return open_database(url)


@st.cache_data(ttl=TTL_S, max_entries=500, show_spinner=False)
def _kept(
    url: str,
    name: str,  # noqa: ARG001  # part of the key; a function itself is none
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    _question: Callable[..., Any],
) -> Any:
    return _question(_engine(url), *args, **kwargs)
