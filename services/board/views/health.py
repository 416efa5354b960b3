"""Health: is every accepted event accounted for, how late is what we see, and what was put aside."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from services.board import charts, frame, gauges, health, reading, words
from services.board.settings import BoardSettings
from shared.settings import load

ACCOUNTED = "Every accepted event is accounted for."
REFUSED = (
    "The predictor refused a version, and what served before goes on serving. Put its files right, then restart the "
    "predictor; or let another version take its place (`docs/operations.md`)."
)
MISSING = (
    "are missing: accepted, and neither stored nor put aside nor on their way. Do not restart anything yet. "
    "Look whether the recorder is behind (below) and whether a collector still has a spool; the ledger below shows the "
    "minute, `docs/operations.md` the next steps."
)


def show() -> None:
    """The page."""
    st.title("Health")
    st.caption("Of the whole installation: every model, every app.")
    live()


@st.fragment(run_every="2s")
def live() -> None:
    """Everything on this page moves."""
    with frame.told():
        settings = load(BoardSettings)
        now = datetime.now(UTC).replace(microsecond=0)
        recorder, collector = _shown(settings.recorder_url), _shown(settings.collector_url)
        balance = reading.ask(health.balance, now)
        verdict(balance)
        refusals(_shown(settings.predictor_url))
        figures(balance, recorder, collector, now)
        ledger(now)
        aside(now)
        topics(recorder)


@st.cache_data(ttl=reading.TTL_S, max_entries=8, show_spinner=False)
def _shown(url: str) -> gauges.Shown | None:
    return gauges.read(url)


def verdict(balance: health.Balance) -> None:
    """The one sentence that matters."""
    if balance.lost:
        since = f" The first is of {frame.clock(balance.since)}." if balance.since else ""
        st.error(f"{balance.lost:,} events {MISSING}{since}", icon=":material/warning:")
    else:
        st.success(ACCOUNTED, icon=":material/check_circle:")


def refusals(predictor: gauges.Shown | None) -> None:
    """Versions that should serve and that the predictor does not trust."""
    if predictor is None:
        st.caption("The predictor does not answer here, so it is not known whether it refused a version.")
        return
    found = gauges.refused(predictor)
    if not found:
        return
    st.error(REFUSED, icon=":material/gpp_bad:")
    frame.table(
        {
            "Since": [frame.clock(one.at) for one in found],
            "Model": [one.model for one in found],
            "Was to be": [one.alias for one in found],
            "Version": [one.version for one in found],
            "Why": [one.reason for one in found],
        }
    )


def figures(
    balance: health.Balance, recorder: gauges.Shown | None, collector: gauges.Shown | None, now: datetime
) -> None:
    """One row of figures."""
    waiting = sum(count for _, count in reading.ask(health.orphans, now))
    buckets = recorder.by(gauges.VISIBLE, "le") if recorder else {}
    behind = recorder.total("learnback_consumer_lag_events") if recorder else None
    visible = [gauges.quantile(buckets, share) for share in (0.5, 0.95)]
    spooled = collector.total("learnback_spool_events") if collector else None
    spool_age = collector.total("learnback_spool_oldest_seconds") if collector else None
    row = st.columns(5)
    for column, name, value, note, why in (
        (row[0], "Missing", f"{balance.lost:,}", f"{balance.pending:,} on their way",
         "Accepted, and neither stored nor put aside nor still to come."),
        (row[1], "Accepted to visible", words.duration(visible[0]), f"95 % in {words.duration(visible[1])}",
         "From the collector's yes to the committed row, since the recorder started."),
        (row[2], "Not yet read", "–" if behind is None else f"{behind:,.0f}",
         "recorder away" if recorder is None else "events behind", "Events on Kafka that the recorder has not taken."),
        (row[3], "In the spool", "–" if spooled is None else f"{spooled:,.0f}",
         "collector away" if collector is None else f"oldest {words.duration(spool_age or 0)}",
         "Accepted while Kafka was away; sent when it is back."),
        (row[4], "Without a prediction", f"{waiting:,}", "feedback that waits",
         "Feedback whose prediction has not come yet."),
    ):  # fmt: skip
        column.metric(name, value, note, delta_color="off", delta_arrow="off", border=True, help=why)


def ledger(now: datetime) -> None:
    """What was accepted in each minute and what became of it."""
    st.subheader("Accepted and what became of it")
    found = reading.ask(health.minutes, now)
    if not found:
        frame.empty("Nothing was accepted yet. Collectors and predictors tell their counts each second.")
        return
    st.altair_chart(charts.outcomes(found), key="outcomes")
    with st.expander("Minute by minute", icon=":material/table_rows:"):
        st.dataframe(
            {
                "Minute": [frame.clock(one.at) for one in found],
                "Accepted": [one.accepted for one in found],
                **{end.capitalize(): [one.ended[end] for one in found] for end in health.ENDS},
                "On their way": [one.pending for one in found],
                "Missing": [one.lost for one in found],
            },
            hide_index=True,
        )


def aside(now: datetime) -> None:
    """What waits, and what was put aside."""
    left, middle, right = st.columns(3)
    with left.container(border=True, height="stretch"):
        st.subheader("Waits for its prediction")
        waiting = reading.ask(health.orphans, now)
        if any(count for _, count in waiting):
            frame.table({"Age": [name for name, _ in waiting], "Feedback": [count for _, count in waiting]})
        else:
            frame.empty("All feedback has met its prediction.")
    with middle.container(border=True, height="stretch"):
        st.subheader("Dead letters")
        dead = reading.ask(health.letters)
        if dead:
            frame.table(
                {
                    "Reason": [words.rule(one.reason) for one in dead],
                    "By": [one.service for one in dead],
                    "Count": [one.count for one in dead],
                    "Newest": [frame.clock(one.newest) for one in dead],
                }
            )
        else:
            frame.empty("No record was put aside.")
    with right.container(border=True, height="stretch"):
        st.subheader("Quarantined")
        held = reading.ask(health.quarantined)
        if held:
            frame.table(
                {
                    "Model": [model for model, _, _ in held],
                    "Rule": [words.rule(reason) for _, reason, _ in held],
                    "Examples": [count for _, _, count in held],
                }
            )
        else:
            frame.empty("No example is kept out of training.")


def topics(recorder: gauges.Shown | None) -> None:
    """How far each topic has been read."""
    st.subheader("Topics")
    found = reading.ask(health.topics)
    if not found:
        frame.empty("The recorder has read nothing yet.")
        return
    behind = recorder.by("learnback_consumer_lag_events", "topic") if recorder else {}
    st.dataframe(
        {
            "Topic": [one.name for one in found],
            "Partitions": [one.partitions for one in found],
            "Records read": [one.read for one in found],
            "Not yet read": [f"{behind[one.name]:,.0f}" if one.name in behind else "–" for one in found],
        },
        hide_index=True,
        height=frame.table_height(len(found)),
    )


frame.show(show, of_model=False)
