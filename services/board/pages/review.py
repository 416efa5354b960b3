"""Review: what waits for a person, one thing at a time. A decision goes to the collector, which makes it an event."""

from __future__ import annotations

import streamlit as st

from services.board import activity, frame, gate, reading, review_queue, sending, words

KINDS: dict[str, review_queue.Kind] = {
    "Quarantined": "quarantined",
    "New labels": "new label",
    "Called wrong": "called wrong",
    "Audit": "audit",
}
WHY: dict[review_queue.Kind, str] = {
    "quarantined": "Feedback that a rule keeps out of training until a person has looked at it.",
    "new label": "Labels that the model does not know and too few users have named. Accepting one lets it be learned.",
    "called wrong": "Answers that users called wrong, or less good than another, where nobody said what is right.",
    "audit": "Inputs on which users disagree about the right output.",
}
NOTHING = "Nothing waits here. New items appear as the recorder finds them."
ACTIONS = {"accept": "Accept", "relabel": "Relabel", "reject": "Reject"}


def show() -> None:
    """The page."""
    st.title("Review")
    sent = st.session_state.setdefault("sent", {})
    text = reading.ask(activity.model_card, frame.model()).task == "generation"
    waiting = {
        name: [item for item in reading.ask(review_queue.queue, frame.model(), kind) if item.example_id not in sent]
        for name, kind in KINDS.items()
        if not (text and kind == "new label")
    }
    undecided()
    chosen = st.segmented_control(
        "Queue", list(waiting), default="Quarantined", required=True, key="queue", label_visibility="collapsed",
        format_func=lambda name: f"{name} ({len(waiting[name])})",
    )  # fmt: skip
    st.caption(WHY[KINDS[chosen or "Quarantined"]])
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    items = waiting[chosen or "Quarantined"]
    if not items:
        frame.empty(NOTHING)
        return
    picked = table(items)
    detail(picked)


def undecided() -> None:
    """What the gate waits for: answers that nobody but users can give."""
    for card in reading.ask(gate.verdicts, frame.model(), 1):
        if card.outcome == "inconclusive" and card.labels_to_decide:
            frame.empty(
                f"The gate could decide on {card.name} with about {card.labels_to_decide:,} more solicited answers."
            )


def table(items: list[review_queue.Item]) -> review_queue.Item:
    """All that waits; a click picks one, and without a click it is the first."""
    event = st.dataframe(
        {
            "Input": [item.text for item in items],
            "Would be learned as": [item.target or "–" for item in items],
            "Served": [item.served.output if item.served else "–" for item in items],
            "Votes": [item.votes for item in items],
            "Why it waits": [words.rule(item.reason) or words.why(item.reason) for item in items],
        },
        hide_index=True,
        key=f"items-{len(st.session_state['sent'])}",
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [0]}},
        height=frame.table_height(min(8, len(items))),
        column_config={"Input": st.column_config.TextColumn(width="large")},
    )
    rows = event.selection.rows
    return items[rows[0]] if rows and rows[0] < len(items) else items[0]


def detail(item: review_queue.Item) -> None:
    """One item with everything that is known of it, and the decision."""
    with st.container(border=True):
        said, decision = st.columns([3, 2], gap="large")
        with said:
            facts(item)
        with decision:
            form(item)


def facts(item: review_queue.Item) -> None:
    """What was asked, answered and said."""
    st.caption("Input")
    st.code(item.text, language=None, wrap_lines=True)
    outputs(item)
    for column, name, value in zip(
        st.columns(3),
        ("First said", "Why it waits", "Votes"),
        (frame.clock(item.first_at), words.why(item.reason), f"{item.votes} (weight {item.weight:.2g})"),
        strict=True,
    ):
        with column:
            frame.fact(name, value)


def outputs(item: review_queue.Item) -> None:
    """What was served, what would be learned, and what users called right: side by side while that is short."""
    served, score = item.served, item.served.score if item.served else None
    sure = "" if score is None else f" ({words.percent(score)})"
    said = [output for output, _ in item.voices]
    short = all(map(frame.is_short, [item.target or "", served.output if served else "", *said]))
    places = st.columns(3) if short else [*st.columns(2), st.container()]
    with places[0].container(gap="xxsmall"):
        st.caption(f"Served by {served.version}{sure}" if served else "Served")
        frame.output(served.output if served else "–")
    with places[1].container(gap="xxsmall"):
        st.caption("Would be learned as")
        frame.output(item.target or "undecided")
    with places[2].container(gap="xxsmall"):
        for output, count in item.voices or (("–", 0),):
            st.caption(f"What users called right{f' × {count}' if count else ''}")
            frame.output(output)


def form(item: review_queue.Item) -> None:
    """The decision, who takes it, and why."""
    labels = list(reading.ask(activity.model_card, frame.model()).labels)
    action = st.segmented_control(
        "Decision", list(ACTIONS), format_func=ACTIONS.__getitem__, default="accept" if item.target else "relabel",
        required=True, key=f"action-{item.example_id}",
    )  # fmt: skip
    target = None
    if action == "relabel":
        target = _target(labels, item)
    note = st.text_input("Note", placeholder="Why, for whoever reads this later", key=f"note-{item.example_id}")
    reviewer = sending.reviewer()
    ready = bool(reviewer) and (action != "relabel" or bool(target)) and (action != "accept" or bool(item.target))
    if st.button("Send decision", type="primary", disabled=not ready, key=f"send-{item.example_id}"):
        send(item, action or "", target, reviewer, note)


def _target(labels: list[str], item: review_queue.Item) -> str | None:
    """The right output: one of the labels or a new one; where there are none, text that begins as what is there."""
    key = f"target-{item.example_id}"
    if not labels:
        begun = item.target or (item.served.output if item.served else "")
        return st.text_area("Right output", begun, key=key, height=200) or None
    return st.selectbox(
        "Right output", labels, index=None, accept_new_options=True, key=key,
        placeholder="Choose a label or type a new one",
    )  # fmt: skip


def send(item: review_queue.Item, action: str, target: str | None, reviewer: str, note: str) -> None:
    """Post the decision; the item is out of the list at once, and the recorder takes it out for everyone."""
    if sending.send(
        subject=item.example_id, model=frame.model(), decision=action, target=target, reviewer=reviewer, note=note
    ):
        st.session_state["sent"][item.example_id] = action
        st.rerun()


frame.show(show)
