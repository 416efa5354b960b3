"""What every page has around it: the choice of the model, empty states that say what to do, local times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from services.board import activity, reading, words
from shared.errors import ConfigError

SHORT, TALL = 60, 12  # characters of an output that stands as a word does; lines that need no scroll bar
NO_MODEL = (
    "No model yet. Add one with `learnback models add NAME --task TASK --base ID --examples FILE`, or run `make demo`."
)
OUTCOMES = {"promote": ("promoted", "green"), "reject": ("rejected", "red"), "inconclusive": ("inconclusive", "orange")}


def show(page: Callable[[], None], of_model: bool = True) -> None:
    """Show a page, or why it cannot be shown yet. A page that is `of_model` needs one."""
    with told():
        if problem := missing(of_model):
            empty(problem)
            _watch(of_model)
            return
        if models := reading.ask(activity.models):
            _choose(models)
        page()


def _choose(models: tuple[str, ...]) -> None:
    """The choice of the model. It is kept apart from the widget, whose state ends with its page."""
    before = st.session_state.get("model")
    with st.sidebar:
        st.session_state["model"] = st.selectbox("Model", models, models.index(before) if before in models else 0)


def missing(of_model: bool = True) -> str | None:
    """What must be done before there is anything to see; None when there is."""
    return reading.trouble() or (NO_MODEL if of_model and not reading.ask(activity.models) else None)


def model() -> str:
    """The chosen model."""
    return str(st.session_state["model"])


@contextmanager
def told() -> Iterator[None]:
    """Say in words that the database or a setting is wrong. Statements and their values are not shown."""
    try:
        yield
    except SQLAlchemyError as error:
        st.error(f"The database did not answer ({type(error).__name__}). The page tries again on its own.")
    except ConfigError as error:
        st.error("A setting is wrong.")
        st.text(str(error))


def empty(said: str) -> None:
    """An empty state: words of ours, which may hold markdown, and never a user's."""
    st.info(said, icon=":material/info:")


def local(moment: datetime) -> datetime:
    """A time in the zone of the browser."""
    return moment.astimezone(ZoneInfo(st.context.timezone or "UTC"))


def clock(moment: datetime) -> str:
    """A time as people say it: with the day, unless that is today."""
    here = local(moment)
    return here.strftime("%H:%M:%S" if here.date() == local(datetime.now(UTC)).date() else "%d %b %H:%M")


def badge(outcome: str) -> None:
    """A verdict's outcome."""
    called, colour = OUTCOMES.get(outcome, (outcome, "gray"))
    st.badge(called, color=colour)  # type: ignore[arg-type]


def table_height(rows: int) -> int:
    """Pixels that show so many rows of a table and its head, without a scroll bar."""
    return (rows + 1) * 35 + 3


def table(columns: Mapping[str, list[Any]], most: int | None = None) -> None:
    """Columns to be read and copied; all rows are seen at once, or `most` of them."""
    rows = len(next(iter(columns.values())))
    st.dataframe(columns, hide_index=True, height=table_height(min(rows, most) if most else rows))


def fact(name: str, value: str) -> None:
    """A name and a value, which may be a user's words."""
    with st.container(gap="xxsmall"):
        st.caption(name)
        st.text(value)


def is_short(output: str) -> bool:
    """Whether an output can stand in a line with others, as a label does."""
    return len(output) <= SHORT and "\n" not in output and words.structured(output) is None


def output(text: str) -> None:
    """An output: a short one as it is, a long one or JSON in a cell that wraps and scrolls."""
    if is_short(text):
        st.text(text)
        return
    spread = words.structured(text)
    shown, language = (text, None) if spread is None else (spread, "json")
    tall = len(shown) > TALL * SHORT or shown.count("\n") >= TALL
    st.code(shown, language=language, wrap_lines=True, height=300 if tall else "content")


@st.fragment(run_every="3s")
def _watch(of_model: bool) -> None:
    """Open the page as soon as there is something to see."""
    with told():
        if missing(of_model) is None:
            st.rerun()
