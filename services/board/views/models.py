"""Models: every version, what it came from, what it learned, and what the gate said of it."""

from __future__ import annotations

import streamlit as st

from services.board import charts, frame, gate, lineage, reading, report_card, velocity, words


def show() -> None:
    """The page."""
    st.title("Models")
    versions = reading.ask(lineage.versions, frame.model())
    if not versions:
        frame.empty(
            "No version yet. The trainer is making v0, or waits for the request that `learnback models add` sends."
        )
        return
    with st.container(border=True):
        st.subheader("Lineage")
        st.caption(
            "Filled: the champion. Outlined: was champion. Dashed: never promoted. Dotted: trained anew from the base."
        )
        st.graphviz_chart(charts.lineage(versions))
    table(versions)
    changes()
    card(versions)


def table(versions: tuple[lineage.VersionFacts, ...]) -> None:
    """Every version, newest first."""
    called = {made.version: made.name for made in versions}
    fixed = reading.ask(lineage.fixed_by_version, frame.model())
    st.subheader("Versions")
    st.dataframe(
        {
            "Version": [made.name for made in versions],
            "State": [made.state for made in versions],
            "Parent": [called.get(made.parent or "", "–") for made in versions],
            "Trigger": [made.trigger for made in versions],
            "Lessons": [made.lessons for made in versions],
            "Replayed": [made.replayed for made in versions],
            "Fixed": [fixed.get(made.version, 0) for made in versions],
            **({"Labels": [made.labels for made in versions]} if any(made.labels for made in versions) else {}),
            "Loss": [list(made.loss_curve) for made in versions],
            "Dev score": [words.percent(made.dev_score) for made in versions],
            "λ": [made.step_size for made in versions],
            "Steps": [made.steps for made in versions],
            "Examples/s": [made.examples_per_s for made in versions],
            "Trained": [frame.clock(made.trained_at) for made in versions],
            "Id": [made.version for made in versions],
        },
        hide_index=True,
        column_config={
            "Version": st.column_config.TextColumn(pinned=True, width=70),
            "Loss": st.column_config.LineChartColumn(y_min=0),
            "Dev score": st.column_config.TextColumn(help="Accuracy on the trainer's own split: never the gate's."),
            "λ": st.column_config.NumberColumn(
                format="%.2f", help="How far the version moved from its parent, 0 to 1."
            ),
            "Examples/s": st.column_config.NumberColumn(format="%.0f"),
            "Fixed": st.column_config.NumberColumn(
                help="Corrected inputs that this version was the first to get right."
            ),
        },
    )


def changes() -> None:
    """Served accuracy around each change of the champion."""
    champions = reading.ask(velocity.velocity, frame.model()).champions
    if not champions:
        return
    st.subheader("What each change of the champion did")
    st.dataframe(
        {
            "Champion": [f"{'back to ' if one.rollback else ''}{one.name}" for one in champions],
            "Since": [frame.clock(one.at) for one in champions],
            "Served accuracy before": [words.accuracy(one.before) for one in champions],
            "Served accuracy after": [words.accuracy(one.after) for one in champions],
            "Change, with its 95 % band": [words.change(one.change) for one in champions],
        },
        hide_index=True,
    )


def card(versions: tuple[lineage.VersionFacts, ...]) -> None:
    """The gate's report card of one candidate."""
    st.subheader("Gate report")
    called = {made.version: f"{made.name} · {made.state}" for made in versions}
    chosen = st.selectbox("Candidate", list(called), format_func=called.__getitem__, key="candidate", width=320)
    cards = reading.ask(gate.report, frame.model(), chosen)
    if not cards:
        frame.empty("The gate has not judged this version yet.")
    for judged in cards:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                frame.badge(judged.outcome)
                st.text(f"{report_card.headline(judged)} · {frame.clock(judged.at)} · decided by {judged.decided_by}")
            st.text(judged.reason)
            report_card.show(judged)


frame.show(show)
