"""Champion: who serves and by whose decision, who is on trial, and a reviewer's decision to change or keep it."""

from __future__ import annotations

import streamlit as st

from services.board import aliases, frame, lineage, reading, sending, words
from services.board.aliases import Aliases, Reign
from services.board.lineage import VersionFacts

ACTIONS = {"promote": "Promote", "rollback": "Roll back", "hold": "Hold", "release": "Release"}
WHAT = {
    "promote": "This version becomes champion, whatever the gate said of it, and is not watched.",
    "rollback": "This version becomes champion again.",
    "hold": "The loop leaves the champion as it is: candidates are judged, and none takes its place until a release.",
    "release": "The loop may replace the champion again.",
}


def show() -> None:
    """The page."""
    st.title("Champion")
    versions = reading.ask(lineage.versions, frame.model())
    if not versions:
        frame.empty("No version yet: nothing serves, and there is nothing to decide.")
        return
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    serving(reading.ask(aliases.aliases, frame.model()))
    with st.container(border=True):
        st.subheader("Decide")
        form(versions)
    history()


def serving(now: Aliases) -> None:
    """Champion and canary, side by side."""
    if held := reading.ask(aliases.hold, frame.model()):
        st.warning("Held: the loop does not replace the champion.", icon=":material/lock:")
        st.text(f"By {held.reviewer}, {frame.clock(held.at)}: {held.note or 'no reason given'}")
    if now.champion is None:
        frame.empty("No version serves yet.")
        return
    places = st.columns(2)
    with places[0].container(border=True):
        reign("Champion", now.champion)
    with places[1].container(border=True):
        if now.canary is None:
            st.subheader("Canary")
            st.caption("No version is on trial.")
        else:
            reign("Canary", now.canary)
            st.caption(
                "Both accuracies are since its trial began, by answers that were asked for at random. Users who were "
                "asked and did not answer are not counted, whatever `gate.silence` says: it holds for gate and watch."
            )


def reign(title: str, one: Reign) -> None:
    """One alias."""
    st.subheader(f"{title}: {one.name}")
    for column, name, value in zip(
        st.columns(3),
        ("Since", "Users", "Decided by"),
        (frame.clock(one.since), words.percent(one.share, 0), one.decided_by),
        strict=True,
    ):
        with column:
            frame.fact(name, value)
    frame.fact("Served accuracy", words.accuracy(one.accuracy))
    st.text(one.reason)


def form(versions: tuple[VersionFacts, ...]) -> None:
    """The decision, on which version, who takes it, and why."""
    by_id = {made.version: made for made in versions}
    version = st.selectbox(
        "Version", list(by_id), format_func=lambda one: f"{by_id[one].name} · {by_id[one].state}", index=None,
        key="version", placeholder="Choose a version", width=320,
    )  # fmt: skip
    if version is None:
        return
    actions = _actions(by_id[version])
    action = st.segmented_control(
        "Decision", actions, format_func=ACTIONS.__getitem__, default=actions[0], required=True, key=f"on-{version}",
    )  # fmt: skip
    chosen = action or actions[0]
    st.caption(WHAT[chosen])
    note = st.text_input("Reason", placeholder="Why, for whoever reads this later", key=f"note-{version}")
    reviewer = sending.reviewer()
    ready = bool(reviewer) and bool(note)
    if st.button("Send decision", type="primary", disabled=not ready, key="send-version") and sending.send(
        subject_kind="version", subject=version, model=frame.model(), decision=chosen, reviewer=reviewer, note=note
    ):
        st.rerun()


def _actions(made: VersionFacts) -> list[str]:
    """What can be decided on a version: of the champion, whether it stays; of another, whether it takes its place."""
    if made.champion:
        return ["hold", "release"]
    return ["rollback"] if made.was_champion else ["promote"]


@st.fragment(run_every="3s")
def history() -> None:
    """What was decided, and what became of it."""
    taken = reading.ask(aliases.decisions, frame.model())
    st.subheader("Decisions")
    if not taken:
        frame.empty("Nobody has decided on a version yet.")
        return
    frame.table(
        {
            "When": [frame.clock(one.at) for one in taken],
            "Reviewer": [one.reviewer for one in taken],
            "Decision": [ACTIONS.get(one.decision, one.decision) for one in taken],
            "Version": [one.name for one in taken],
            "Reason": [one.note for one in taken],
            "Became": [one.outcome for one in taken],
            "Answer": [one.answer for one in taken],
        },
        most=12,
    )


frame.show(show)
