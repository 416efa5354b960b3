"""What a library repeats is written seldom, and nothing else is held back."""

from __future__ import annotations

import logging

from shared.observe import SAYINGS, SELDOM_S, Seldom


def said(message: str, at: float, *arguments: object, name: str = "aiokafka") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "", 1, message, arguments, None)
    record.created = at
    return record


def test_the_same_is_written_once_in_ten_seconds_whatever_it_names_and_then_with_its_number() -> None:
    seldom = Seldom()
    assert seldom.filter(said("No way to node %s", 0.0, 1))
    assert not any(seldom.filter(said("No way to node %s", second, second)) for second in (1, 2, SELDOM_S - 1))
    again = said("No way to node %s", SELDOM_S, 7)
    assert seldom.filter(again)
    assert again.getMessage() == "No way to node 7 (and 3 more like it)"
    later = said("No way to node %s", 3 * SELDOM_S, 7)
    assert seldom.filter(later)
    assert later.getMessage() == "No way to node 7"


def test_other_words_and_other_libraries_are_written() -> None:
    seldom = Seldom()
    written = [said("away", 0.0), said("back", 0.0), said("away", 0.0, name="faust")]
    assert all(seldom.filter(record) for record in written)


def test_sayings_without_end_cost_no_memory() -> None:
    seldom = Seldom()
    assert all(seldom.filter(said(f"{number} is away", 0.0)) for number in range(3 * SAYINGS))
    assert len(seldom._said) <= SAYINGS


def test_percent_signs_in_what_was_said_without_arguments_stay() -> None:
    seldom = Seldom()
    for at in (0.0, 1.0):
        seldom.filter(said("90 % full", at))
    record = said("90 % full", SELDOM_S)
    assert seldom.filter(record)
    assert record.getMessage() == "90 % full (and 1 more like it)"
