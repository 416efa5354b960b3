"""Review: what waits for a person, one thing at a time. A decision goes to the collector, which makes it an event."""

from __future__ import annotations

import streamlit as st

from services.board import activity, audits, frame, gate, reading, review_queue, sending, words

KINDS: dict[str, review_queue.Kind] = {
    "Quarantined": "quarantined",
    "New labels": "new label",
    "Called wrong": "called wrong",
    "Disputed": "disputed",
}
WHY: dict[review_queue.Kind, str] = {
    "quarantined": "Feedback that a rule keeps out of training until a person has looked at it.",
    "new label": "Labels that the model does not know and too few users have named. Accepting one lets it be learned.",
    "called wrong": "Answers that users called wrong, or less good than another, where nobody said what is right.",
    "disputed": "Inputs on which users disagree about the right output.",
}
AUDIT = "Audit"
BLIND = (
    "Inputs drawn at random, one at a time and blind: versions are judged by what you say, so you see neither what was"
    " answered nor what users said."
)
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
    drawn = [one for one in reading.ask(audits.waiting, frame.model()) if one.example_id not in sent]
    undecided()
    counts = {name: len(items) for name, items in waiting.items()} | {AUDIT: len(drawn)}
    chosen = st.segmented_control(
        "Queue", list(counts), default="Quarantined", required=True, key="queue", label_visibility="collapsed",
        format_func=lambda name: f"{name} ({counts[name]})",
    ) or "Quarantined"  # fmt: skip
    st.caption(BLIND if chosen == AUDIT else WHY[KINDS[chosen]])
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    if chosen == AUDIT and drawn:
        audit(drawn[0])
        return
    items = waiting.get(chosen, [])
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
                f"The gate could decide on {card.name} with about {card.labels_to_decide:,} more answers or audits."
            )


def audit(one: audits.Audit) -> None:
    """One input to be labelled, without a word of what was made of it."""
    with st.container(border=True):
        said, decision = st.columns([3, 2], gap="large")
        with said:
            st.caption("Input")
            st.code(one.text, language=None, wrap_lines=True)
        with decision:
            target = _target(list(reading.ask(activity.model_card, frame.model()).labels), one.example_id)
            note = st.text_input("Note", placeholder="Why, for whoever reads this later", key=f"note-{one.example_id}")
            reviewer = sending.reviewer()
            about = {"prediction_id": one.prediction_id, "reviewer": reviewer, "note": note}
            ready = bool(reviewer)
            if st.button(
                "This is right", type="primary", disabled=not (ready and target), key=f"send-{one.example_id}"
            ):
                send(one.example_id, "relabel", target=target, **about)
            if st.button("Nobody could tell", disabled=not ready, key=f"pass-{one.example_id}"):
                send(one.example_id, "reject", **about)


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
        target = _target(labels, item.example_id, item.target or (item.served.output if item.served else ""))
    note = st.text_input("Note", placeholder="Why, for whoever reads this later", key=f"note-{item.example_id}")
    reviewer = sending.reviewer()
    ready = bool(reviewer) and (action != "relabel" or bool(target)) and (action != "accept" or bool(item.target))
    if st.button("Send decision", type="primary", disabled=not ready, key=f"send-{item.example_id}"):
        send(item.example_id, action or "", target=target, reviewer=reviewer, note=note)


def _target(labels: list[str], example_id: str, begun: str = "") -> str | None:
    """The right output: one of the labels or a new one; where there are none, text that begins as what is there."""
    key = f"target-{example_id}"
    if not labels:
        return st.text_area("Right output", begun, key=key, height=200) or None
    return st.selectbox(
        "Right output", labels, index=None, accept_new_options=True, key=key,
        placeholder="Choose a label or type a new one",
    )  # fmt: skip


def send(example_id: str, action: str, **decided: object) -> None:
    """Post the decision; the item is out of the list at once, and the recorder takes it out for everyone."""
    if sending.send(subject=example_id, model=frame.model(), decision=action, **decided):
        st.session_state["sent"][example_id] = action
        st.rerun()


frame.show(show)
