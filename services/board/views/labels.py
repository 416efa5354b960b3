"""Labels: what each one stands for, and a reviewer's decision to merge it into another, retire it, or restore it."""

from __future__ import annotations

import streamlit as st

from services.board import activity, frame, labels, reading, sending
from services.board.labels import LabelFacts

ACTIONS = {"merge": "Merge", "retire": "Retire", "restore": "Restore"}
WHAT = {
    "merge": "Whatever anybody called by this label counts as the other one, now and later. Two labels of one meaning "
    "become one; a new name renames it.",
    "retire": "Nobody's word for this label counts any more: its examples teach nothing and judge nothing.",
    "restore": "The label stands for itself again, as if it had never been merged or retired.",
}
NO_LABELS = "This model writes text: it has no labels."


def show() -> None:
    """The page."""
    st.title("Labels")
    if reading.ask(activity.model_card, frame.model()).task == "generation":
        frame.empty(NO_LABELS)
        return
    known = reading.ask(labels.labels, frame.model())
    if not known:
        frame.empty("No label yet. They come with the model's first examples.")
        return
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    table(known)
    with st.container(border=True):
        form(known)


def table(known: tuple[LabelFacts, ...]) -> None:
    """Every label."""
    st.caption("A decision changes examples at once, and answers with the next version that is promoted.")
    frame.table(
        {
            "Label": [one.name for one in known],
            "State": [one.state for one in known],
            "Lessons": [one.lessons for one in known],
            "Evidence": [one.evidence for one in known],
        },
        most=12,
    )


def form(known: tuple[LabelFacts, ...]) -> None:
    """The decision, who takes it, and why."""
    by_name = {one.name: one for one in known}
    label = st.selectbox("Label", list(by_name), index=None, key="label", placeholder="Choose a label")
    if label is None:
        return
    actions = ["merge", "retire"] if by_name[label].stands else ["restore", "merge"]
    action = st.segmented_control(
        "Decision", actions, format_func=ACTIONS.__getitem__, default=actions[0], required=True, key=f"action-{label}",
    )  # fmt: skip
    st.caption(WHAT[action or actions[0]])
    target = None
    if action == "merge":
        target = st.selectbox(
            "Into", [one.name for one in known if one.stands and one.name != label], index=None,
            accept_new_options=True, key=f"target-{label}", placeholder="Choose a label or type a new name",
        )  # fmt: skip
    note = st.text_input("Note", placeholder="Why, for whoever reads this later", key=f"note-{label}")
    reviewer = sending.reviewer()
    ready = bool(reviewer) and (action != "merge" or bool(target))
    if st.button("Send decision", type="primary", disabled=not ready, key="send-label") and sending.send(
        subject_kind="label", label=label, model=frame.model(), decision=action or actions[0], target=target,
        reviewer=reviewer, note=note,
    ):  # fmt: skip
        st.rerun()  # the recorder applies it, and the table shows it a moment later


frame.show(show)
