"""Golden anchor: the texts that no candidate may get worse on, and a reviewer's edits of them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from services.board import activity, anchor, anchor_file, frame, reading, sending
from services.board.anchor import Anchor, AnchorRow
from services.board.anchor_file import Change
from shared.errors import BadInputError

WHAT = (
    "Inputs with their right outputs that people vouch for. No candidate may get worse on them by more than the policy"
    " allows. Users cannot change them, and no version learns them. An edit holds from the next verdict on."
)
ACTIONS = {"add": "Add a row", "relabel": "Change its output", "retire": "Retire it", "file": "Take a file"}
SAID = {
    "add": "A text that no version has learned. What users say of it, or of nearly the same words, teaches nothing.",
    "relabel": "The output that versions are held to from now on.",
    "retire": "It judges nothing any more. It is not handed to training either, so that it can be added again.",
    "file": "Rows of the file that are new are added, and those with another output are changed.",
}


def show() -> None:
    """The page."""
    st.title("Golden anchor")
    st.caption(WHAT)
    now = reading.ask(anchor.anchor, frame.model())
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    picked = table(now)
    with st.container(border=True):
        form(now, picked, st.session_state.setdefault("edits", 0))
    history()


def table(now: Anchor) -> AnchorRow | None:
    """All rows; a click picks the one to be changed or retired."""
    if not now.rows:
        frame.empty("This model has no golden anchor: nothing guards what it knows. Add the first row below.")
        return None
    st.text(f"Version {anchor.short(now.version)}: {len(now.rows):,} rows")
    event = st.dataframe(
        {"Input": [row.text for row in now.rows], "Right output": [row.target for row in now.rows]},
        hide_index=True,
        key=f"rows-{now.version}",
        on_select="rerun",
        selection_mode="single-row",
        height=frame.table_height(min(12, len(now.rows))),
        column_config={"Input": st.column_config.TextColumn(width="large")},
    )
    name = f"{frame.model()}-anchor-{anchor.short(now.version)}"
    with st.container(horizontal=True):
        st.download_button("Download JSONL", anchor_file.to_jsonl(now.rows), f"{name}.jsonl", on_click="ignore")
        st.download_button("Download CSV", anchor_file.to_csv(now.rows), f"{name}.csv", "text/csv", on_click="ignore")
    rows = event.selection.rows
    return now.rows[rows[0]] if rows and rows[0] < len(now.rows) else None


def form(now: Anchor, picked: AnchorRow | None, turn: int) -> None:
    """What is to be done, who does it, and why; empty again at the next turn."""
    actions = ["relabel", "retire", "add", "file"] if picked else ["add", "file"]
    action = st.segmented_control(
        "Edit", actions, format_func=ACTIONS.__getitem__, default=actions[0], required=True,
        key=f"action-{picked.text if picked else ''}",
    ) or actions[0]  # fmt: skip
    st.caption(SAID[action])
    try:
        wanted = _of_file(now, turn) if action == "file" else _of_row(action, picked, turn)
    except BadInputError as error:
        st.error("The file was not taken.", icon=":material/block:")
        st.text(str(error))
        return
    note = st.text_input("Reason", placeholder="Why, for whoever reads this later", key=f"note-anchor-{turn}")
    reviewer = sending.reviewer()
    ready = bool(reviewer and note and wanted)
    if st.button(
        "Send edit" if len(wanted) < 2 else f"Send {len(wanted):,} edits",
        type="primary",
        disabled=not ready,
        key="send-anchor",
    ):
        send(wanted, reviewer, note)


def _of_row(action: str, picked: AnchorRow | None, turn: int) -> tuple[Change, ...]:
    """The edit of one row; nothing while something is missing."""
    if action == "add":
        text = st.text_area("Input", key=f"text-anchor-{turn}", height=100)
        target = _target("", turn)
        return (Change("add", AnchorRow(text, target)),) if text and target else ()
    if picked is None:
        return ()
    st.code(picked.text, language=None, wrap_lines=True)
    if action == "retire":
        return (Change("retire", picked),)
    target = _target(picked.target, turn)
    return (Change("relabel", AnchorRow(picked.text, target)),) if target not in ("", picked.target) else ()


def _target(begun: str, turn: int) -> str:
    """The right output: one of the labels; where there are none, text that begins as what is there."""
    labels = list(reading.ask(activity.model_card, frame.model()).labels)
    if not labels:
        return st.text_area("Right output", begun, key=f"target-anchor-{turn}-{begun}", height=200)
    at = labels.index(begun) if begun in labels else None
    return (
        st.selectbox("Right output", labels, at, key=f"target-anchor-{turn}-{begun}", placeholder="Choose a label")
        or ""
    )


def _of_file(now: Anchor, turn: int) -> tuple[Change, ...]:
    """What a file changes. Raises as `anchor_file.read`."""
    file = st.file_uploader("CSV or JSONL with text and label", ["csv", "jsonl"], key=f"file-anchor-{turn}")
    retire = st.checkbox("Retire the rows that the file lacks", key="retire-anchor")
    if file is None:
        return ()
    wanted = anchor_file.changes(now, anchor_file.read(file.name, file.getvalue()), retire)
    counts = {kind: sum(one.decision == kind for one in wanted) for kind in ("add", "relabel", "retire")}
    st.text(f"{counts['add']:,} to add, {counts['relabel']:,} to change, {counts['retire']:,} to retire.")
    return wanted


def send(wanted: Sequence[Change], reviewer: str, note: str) -> None:
    """Check all edits, then post them, each an event; the first one that is not taken ends it."""
    try:
        rows = {kind: tuple(one.row for one in wanted if one.decision == kind) for kind in ("add", "relabel")}
        reading.ask(anchor.check, frame.model(), rows["add"], rows["relabel"])
    except BadInputError as error:
        st.error("Nothing was sent.", icon=":material/block:")
        st.text(str(error))
        return
    bar = st.progress(0.0) if len(wanted) > 1 else None
    for number, one in enumerate(wanted):
        target = None if one.decision == "retire" else one.row.target
        if not sending.send(
            subject_kind="anchor", text=one.row.text, model=frame.model(), decision=one.decision, target=target,
            reviewer=reviewer, note=note,
        ):  # fmt: skip
            st.text(f"{number:,} of {len(wanted):,} edits were sent before.")
            return
        if bar:
            bar.progress((number + 1) / len(wanted))
    st.session_state["edits"] += 1
    st.session_state["told"] = (
        f"{len(wanted):,} edits sent." if len(wanted) > 1 else f"Edit sent: {wanted[0].decision}."
    )
    st.rerun()


@st.fragment(run_every="3s")
def history() -> None:
    """Who edited the anchor, and why."""
    made = reading.ask(anchor.edits, frame.model())
    st.subheader("Edits")
    if not made:
        frame.empty("Nobody has edited the anchor: it is as it came with the model.")
        return
    frame.table(
        {
            "When": [frame.clock(one.at) for one in made],
            "Reviewer": [one.reviewer for one in made],
            "Edit": [one.decision for one in made],
            "Input": [one.text for one in made],
            "Right output": [one.target or "–" for one in made],
            "State": [one.state for one in made],
            "Reason": [one.note for one in made],
        },
        most=12,
    )


frame.show(show)
