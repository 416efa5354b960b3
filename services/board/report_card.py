"""A verdict as a report card: each check with its value, threshold, n and reason."""

from __future__ import annotations

import streamlit as st

from schemas.events import Check
from services.board import anchor, words
from services.board.gate import VerdictCard

WIDTHS = [2.2, 6, 1.3, 1.3, 1]


def headline(card: VerdictCard) -> str:
    """The two accuracies and what they rest on, in one line that holds no user's words."""
    if card.candidate_accuracy is None:
        return f"{card.name} against {card.champion}"
    return (
        f"{card.name} {words.percent(card.candidate_accuracy)}, {card.champion} "
        f"{words.percent(card.champion_accuracy)}, on {card.evidence:,} solicited answers"
    )


def show(card: VerdictCard) -> None:
    """The checks as a table, and what is left to spend or to wait for."""
    if card.checks:
        for column, head in zip(st.columns(WIDTHS), ("Check", "Reason", "Value", "Threshold", "n"), strict=True):
            column.caption(head)
    for check in card.checks:
        name, reason, value, threshold, n = st.columns(WIDTHS)
        with name:
            _name(check, words.rule(check.name))
        reason.text(check.reason)
        value.text(words.figure(check.value))
        threshold.text(words.figure(check.threshold))
        n.text(f"{check.n:,}" if check.n else "–")
    _foot(card)


def show_narrow(card: VerdictCard) -> None:
    """The same, one check under the other."""
    for check in card.checks:
        figures = [words.rule(check.name)]
        if check.value is not None:
            figures.append(f"{words.figure(check.value)}, threshold {words.figure(check.threshold)}")
        if check.n:
            figures.append(f"n = {check.n:,}")
        with st.container(gap="xxsmall"):
            _name(check, " · ".join(figures))
            st.text(check.reason)
    _foot(card)


def _name(check: Check, text: str) -> None:
    with st.container(horizontal=True, gap="xsmall", wrap=False):
        st.markdown(":green[:material/check_circle:]" if check.passed else ":red[:material/cancel:]", width="content")
        st.text(text)


def _foot(card: VerdictCard) -> None:
    if not card.checks:
        st.text("No checks were run: a person decided, or there was no champion to compare with.")
    if left := _left(card):
        st.caption(left)


def _left(card: VerdictCard) -> str:
    parts = []
    if card.labels_to_decide is not None:
        parts.append(f"About {card.labels_to_decide:,} more answers or audits would decide.")
    if card.anchor is not None:
        parts.append(f"Judged on golden anchor {anchor.short(card.anchor)}.")
    if card.alpha is not None:
        parts.append(f"Tested at α = {words.figure(card.alpha)}.")
    if card.alpha_left is not None:
        parts.append(f"{words.figure(card.alpha_left)} of this champion's α is left.")
    if card.fixes:
        parts.append(f"Gets {card.fixes:,} corrected inputs right.")
    return " ".join(parts)
