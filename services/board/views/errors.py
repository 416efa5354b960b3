"""Errors: where the model still fails, worst first, and what was said there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from services.board import activity, failures, frame, reading, slices, words

WINDOWS = {
    "Last hour": timedelta(hours=1),
    "Last day": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "All time": None,
}
KINDS: dict[str, slices.Kind] = {"Labels": "label", "Confusion pairs": "confusion", "Apps": "app", "Tags": "tag"}
OF_LABELS = ("label", "confusion")  # what a model that writes text has not
EVERYTHING = "all failures"


def show() -> None:
    """The page."""
    st.title("Errors")
    st.caption(
        "Judged predictions, volunteered feedback included: whoever volunteers has mostly seen an error. "
        "Read here where the model fails; how good it is stands on the overview."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        kinds = _kinds()
        kind = st.segmented_control(
            "Slices", kinds, default=kinds[0], required=True, key="kind", label_visibility="collapsed"
        )
        window = st.selectbox(
            "Window", list(WINDOWS), index=len(WINDOWS) - 1, key="window", width=180, label_visibility="collapsed"
        )
    since = _since(WINDOWS[window])
    found = reading.ask(slices.worst, frame.model(), KINDS[kind or kinds[0]], since)
    if not found:
        frame.empty("No failures in this window. The aggregator counts them as feedback comes in.")
    else:
        table(found, KINDS[kind or kinds[0]])
    inputs(found, since)


def _kinds() -> list[str]:
    """The kinds of slices that the model has."""
    text = reading.ask(activity.model_card, frame.model()).task == "generation"
    return [name for name, kind in KINDS.items() if not (text and kind in OF_LABELS)]


def _since(window: timedelta | None) -> datetime | None:
    """The start of the window, to the minute, so that an answer can be kept."""
    return None if window is None else datetime.now(UTC).replace(second=0, microsecond=0) - window


def table(found: tuple[slices.Slice, ...], kind: slices.Kind) -> None:
    """Slices, those with the most failures first."""
    names: dict[str, list[str]] = {kind.capitalize(): [one.name for one in found]}
    if kind == "confusion":
        names = {"Answered": [one.pair[0] for one in found], "Right": [one.pair[1] for one in found]}
    st.dataframe(
        {
            **names,
            "Wrong": [one.errors.hits for one in found],
            "Failures over time": [list(one.bars) for one in found],
            **({} if kind == "confusion" else rates(found)),
        },
        hide_index=True,
        column_config={
            "Error rate": st.column_config.ProgressColumn(
                format="%.1f %%", min_value=0, max_value=100, color="primary"
            ),
            "Failures over time": st.column_config.BarChartColumn(y_min=0),
            "Before": st.column_config.TextColumn(help="Error rate under the champion before this one."),
            "After": st.column_config.TextColumn(help="Error rate under the champion of now."),
            "Change": st.column_config.TextColumn(help="After less before, with the 95 % band: below 0 is better."),
        },
    )


def rates(found: tuple[slices.Slice, ...]) -> dict[str, list[Any]]:
    """How often slices fail. A confusion pair has no rate: whoever is in it is wrong."""
    return {
        "Judged": [one.errors.n for one in found],
        "Error rate": [(one.errors.value or 0) * 100 for one in found],
        "95 % band": [f"{one.errors.low * 100:.0f}–{one.errors.high * 100:.0f} %" for one in found],
        "Before": [words.percent(one.before.value, 0) for one in found],
        "After": [words.percent(one.after.value, 0) for one in found],
        "Change": [words.change(one.change) for one in found],
    }


def inputs(found: tuple[slices.Slice, ...], since: datetime | None) -> None:
    """What was asked, answered and said in one slice."""
    st.subheader("Failures")
    with st.container(horizontal=True):
        chosen = st.selectbox("Slice", [EVERYTHING, *(one.slice for one in found)], key="slice", width=360)
        apps = reading.ask(failures.apps, frame.model())
        app = st.selectbox("App", ["all apps", *apps], key="app", width=180)
    rows = reading.ask(
        failures.failures,
        frame.model(),
        None if chosen == EVERYTHING else chosen,
        app if app in apps else None,
        since,
    )
    if not rows:
        frame.empty("Nobody called an answer wrong here. Widen the window or choose another slice.")
        return
    event = st.dataframe(
        {
            "Input": [one.text for one in rows],
            "Answered": [one.answered for one in rows],
            "Right": [one.right or "not told" for one in rows],
            "State": [one.state for one in rows],
            "Version": [one.version for one in rows],
            "App": [one.app for one in rows],
            "Time": [frame.clock(one.at) for one in rows],
        },
        hide_index=True,
        key="failures",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"Input": st.column_config.TextColumn(width="large")},
    )
    if picked := [rows[at] for at in event.selection.rows if at < len(rows)]:
        whole(picked[0])
    if len(rows) == failures.LIMIT:
        st.caption(f"The newest {failures.LIMIT}: narrow the slice, the app or the window to see others.")


def whole(one: failures.Failure) -> None:
    """One failure with all of its words."""
    with st.container(border=True):
        st.code(one.text, language=None, wrap_lines=True)
        for place, name, output in zip(
            st.columns(2), (f"Answered by {one.version}", "Right"), (one.answered, one.right or "not told"), strict=True
        ):
            with place.container(gap="xxsmall"):
                st.caption(name)
                frame.output(output)


frame.show(show)
