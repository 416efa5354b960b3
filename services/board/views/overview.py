"""Overview: is the live model better than it was, how fast does it learn, and what happened last."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from services.board import activity, charts, fixes, frame, gate, lineage, reading, report_card, served, velocity, words

SILENCE_S = 60  # a training tells where it stands every few seconds
VERDICTS, FIXES = 4, 12  # as many as stand side by side


def show() -> None:
    """The page."""
    card = reading.ask(activity.model_card, frame.model())
    st.title(frame.model())
    serving = (
        f"serving {card.champion} since {frame.clock(card.since)}" if card.champion and card.since else "not serving"
    )
    labels = f"{len(card.labels)} labels · " if card.task == "classification" else ""
    st.text(f"{card.task} · {card.base} · {labels}{serving}")
    live()
    story()


@st.fragment(run_every="2s")
def live() -> None:
    """The figures that move: outcome first, then volume."""
    with frame.told():
        found = reading.ask(velocity.velocity, frame.model())
        counted = reading.ask(activity.counters, frame.model())
        figures(found, counted)
        increment(reading.ask(activity.running, frame.model()))


def figures(found: velocity.Velocity, counted: activity.Counters) -> None:
    """One row of figures and one line with the rest."""
    row = st.columns([1.5, 1.1, 1, 1, 1, 1])  # the headline has a band to show
    low, high = found.now.band
    band = "" if found.now.value is None else f" ± {(high - low) * 50:.1f}"
    row[0].metric(
        "Served accuracy",
        words.percent(found.now.value) + band,
        None if found.gain is None else words.points(found.gain),
        border=True,
        help=f"Last {found.now.n} solicited answers against the first {found.first.n}; ± is half of the 95 % band.",
    )
    row[1].metric(
        "Feedback to fix",
        words.duration(found.fix_times.p50_s),
        f"95 % in {words.duration(found.fix_times.p95_s)}" if found.fix_times.fixed else "nothing fixed yet",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="The median, from a correction to the first answer of a version that gets it right: "
        f"{found.fix_times.fixed:,} fixed, {found.fix_times.open:,} open.",
    )
    row[2].metric(
        "Promotions",
        f"{found.promotions:,}",
        f"of {found.increments:,} increments",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help=f"{found.rejections:,} rejected, {found.inconclusive:,} inconclusive.",
    )
    gain = found.gain_per_100_feedback
    for column, name, value, note in (
        (row[3], "Predictions", counted.predictions, f"newest {words.ago(counted.newest, datetime.now(UTC))}"),
        (
            row[4],
            "Feedback stored",
            counted.feedback,
            "no gain yet" if gain is None else f"{gain * 100:+.1f} pts per 100",
        ),
        (row[5], "To be learned", counted.waiting, f"{counted.quarantined:,} for review"),
    ):
        column.metric(name, f"{value:,}", note, delta_color="off", delta_arrow="off", border=True)


def increment(running: activity.Increment | None) -> None:
    """The increment that is being trained, if one is."""
    if running is None:
        return
    parts = [
        f"Training an increment ({words.rule(running.trigger).lower()})",
        f"step {running.step} of {running.steps}",
    ]
    if running.loss is not None:
        parts.append(f"loss {words.figure(running.loss)}")
    if running.examples_per_s is not None:
        parts.append(f"{running.examples_per_s:,.0f} examples/s")
    if running.seconds_left is not None:
        parts.append(f"{words.duration(running.seconds_left)} left")
    silence = (datetime.now(UTC) - running.told_at).total_seconds()
    if silence > SILENCE_S:
        parts.append(f"no news for {words.duration(silence)}")
    st.progress(running.share, " · ".join(parts))


@st.fragment(run_every="5s")
def story() -> None:
    """What the figures came from."""
    with frame.told():
        time, curve = st.columns([2, 1])
        with time.container(border=True, height="stretch"):
            over_time()
        with curve.container(border=True, height="stretch"):
            per_version()
        judged, fixed = st.columns(2)
        with judged.container(border=True, height="stretch"):
            newest_verdicts()
        with fixed.container(border=True, height="stretch"):
            newest_fixes()


def over_time() -> None:
    """Served accuracy over time."""
    st.subheader("Served accuracy over time")
    points = reading.ask(served.curve, frame.model())
    if not points:
        frame.empty(
            "No solicited answers yet. Apps ask their user whenever a prediction says `solicit: true`, and post what "
            "the user answers."
        )
        return
    st.caption(
        f"Rolling over {served.WINDOW} solicited answers, with the 95 % band. Dashed: a new champion. "
        "Hollow: a candidate that was turned down."
    )
    marks, trials = reading.ask(lineage.marks, frame.model()), reading.ask(lineage.trials, frame.model())
    st.altair_chart(charts.accuracy_over_time(points, marks, trials), key="accuracy")


def per_version() -> None:
    """The learning curve."""
    st.subheader("Learning curve")
    by_version = reading.ask(velocity.velocity, frame.model()).by_version
    if not by_version:
        frame.empty("No version has been judged yet.")
        return
    st.caption("Served accuracy of each version while it was champion, with the 95 % band.")
    st.altair_chart(charts.learning_curve(by_version), key="curve")


def newest_verdicts() -> None:
    """The gate's last answers."""
    st.subheader("Newest verdicts")
    cards = reading.ask(gate.verdicts, frame.model(), VERDICTS)
    if not cards:
        frame.empty("No verdict yet. The gate speaks when the trainer has made a candidate.")
    for card in cards:
        with st.container(key=f"verdict-{card.event_id}", gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                frame.badge(card.outcome)
                st.text(f"{card.name} · {frame.clock(card.at)}")
            st.text(card.reason)
            with st.expander(report_card.headline(card), icon=":material/rule:"):
                report_card.show_narrow(card)


def newest_fixes() -> None:
    """The last corrections that became right answers."""
    st.subheader("Newest fixes")
    found = reading.ask(fixes.latest, frame.model(), FIXES)
    if not found:
        frame.empty("Nothing fixed yet. A correction is fixed when a promoted version gets its input right.")
        return
    st.caption("Corrections that became right answers, and how long after they were given.")
    st.dataframe(
        {
            "Fixed in": [fix.name for fix in found],
            "After": [words.duration(fix.seconds) for fix in found],
            "Right output": [fix.target for fix in found],
            "Input": [fix.text for fix in found],
        },
        hide_index=True,
        column_config={"Right output": st.column_config.TextColumn(width="medium")},
        height=frame.table_height(len(found)),
    )


frame.show(show)
