"""Slices: every judged prediction counts once, wherever and however often it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from services.aggregator.facts import Judged, Judgement
from services.aggregator.slices import MAX_BUCKETS, Counts, Slice, bucket_of, changes, count, rise
from tests.unit.aggregator_facts import CORRECTED, LABELS, NOON, RIGHT, WRONG, judged


def apply(facts: list[Judged], seconds: int = 60) -> dict[str, Slice]:
    slices: dict[str, Slice] = {}
    for fact in facts:
        for name, change in changes(fact, LABELS).items():
            counted = slices.get(name, Slice(partition=0))
            slices[name] = count(counted, fact, bucket_of(fact.at, seconds), change)
    return slices


def total(counted: Slice) -> Counts:
    return sum(counted.buckets.values(), counted.older)


def test_a_corrected_prediction_counts_by_its_right_label_its_confusion_and_its_app() -> None:
    assert changes(judged(), LABELS) == {
        "app=shop": Counts(1, 1),
        "label=billing": Counts(1, 1),
        "confusion=refund→billing": Counts(1, 1),
    }


def test_a_label_that_no_version_knows_is_nobodys_name() -> None:
    own_words = Judgement(wrong=True, right="I am Ann of 7 Main Street")
    assert changes(judged(now=own_words), LABELS) == {
        "app=shop": Counts(1, 1),
        "label=(new)": Counts(1, 1),
        "confusion=refund→(new)": Counts(1, 1),
    }
    assert changes(judged(now=WRONG, served="an old label"), LABELS).keys() == {"app=shop", "label=(new)"}


def test_without_a_known_target_the_served_label_is_the_slice() -> None:
    assert changes(judged(now=WRONG), LABELS) == {"app=shop": Counts(1, 1), "label=refund": Counts(1, 1)}
    assert changes(judged(now=RIGHT), LABELS) == {"app=shop": Counts(1, 0), "label=refund": Counts(1, 0)}


def test_free_text_is_counted_by_app_and_by_the_tags_that_the_policy_names() -> None:
    assert changes(judged(), labels=()) == {"app=shop": Counts(1, 1)}
    assert changes(judged(tags={"plan": "pro"}), labels=()) == {"app=shop": Counts(1, 1), "tag=plan:pro": Counts(1, 1)}


def test_a_prediction_moves_when_more_becomes_known() -> None:
    assert changes(judged(now=CORRECTED, was=WRONG), LABELS) == {
        "label=refund": Counts(-1, -1),
        "label=billing": Counts(1, 1),
        "confusion=refund→billing": Counts(1, 1),
    }


def test_a_record_read_again_changes_nothing() -> None:
    facts = [judged(0), judged(1), judged(1), judged(0)]
    assert total(apply(facts)["app=shop"]) == Counts(2, 2)


labels = st.sampled_from(["refund", "billing", "login"])
judgements = st.builds(lambda right: Judgement(wrong=right != "refund", right=right), labels) | st.just(WRONG)


@given(st.lists(st.lists(judgements, min_size=1, max_size=4), max_size=30), st.integers(1, 5))
def test_each_prediction_counts_once_in_app_and_label_by_its_last_judgement(
    histories: list[list[Judgement]], minutes: int
) -> None:
    facts: list[Judged] = []
    for number, history in enumerate(histories):
        at = NOON + 60 * (number % minutes)
        for was, now in zip([None, *history], history, strict=False):
            facts.append(judged(len(facts), now, was=was, at=at))
    slices = apply(facts)
    expected = Counts(len(histories), sum(history[-1].wrong for history in histories))
    assert total(slices.get("app=shop", Slice(partition=0))) == expected
    by_label = [total(counted) for name, counted in slices.items() if name.startswith("label=")]
    assert sum(by_label, Counts()) == expected


@given(st.lists(st.integers(0, 10_000), max_size=300))
def test_old_buckets_are_summed_up_and_none_is_lost(minutes: list[int]) -> None:
    facts = [judged(offset, at=NOON + 60 * minute) for offset, minute in enumerate(minutes)]
    counted = apply(facts).get("app=shop", Slice(partition=0))
    assert len(counted.buckets) <= MAX_BUCKETS
    assert total(counted) == Counts(len(minutes), len(minutes))


def filled(*rates: tuple[int, int]) -> Slice:
    """Buckets a minute apart from noon on, each of (judged, wrong)."""
    return Slice(partition=0, buckets={int(NOON) + 60 * minute: Counts(*rate) for minute, rate in enumerate(rates)})


def test_a_slice_that_fails_more_than_before_is_a_rise_with_the_exact_p_value() -> None:
    found = rise("label=refund", filled((100, 10), (20, 9), (20, 9)), since=0, min_judged=30, alpha=0.001)
    assert found is not None
    assert (found.before, found.recent) == (Counts(100, 10), Counts(40, 18))
    assert found.p_value == pytest.approx(hypergeom.sf(18 - 1, 140, 28, 40))


@pytest.mark.parametrize(
    ("rates", "since"),
    [
        ([(100, 10), (40, 4)], 0),  # as before
        ([(100, 40), (40, 1)], 0),  # better
        ([(100, 10), (29, 29)], NOON + 60),  # too few in this reign
        ([(40, 40)], 0),  # nothing to compare with
        ([(100, 10), (40, 40)], NOON + 3600),  # under another champion
    ],
)
def test_no_rise(rates: list[tuple[int, int]], since: float) -> None:
    assert rise("label=refund", filled(*rates), since, min_judged=30, alpha=0.001) is None


def test_what_was_let_go_does_not_count_below_nothing() -> None:
    moved = judged(3, now=CORRECTED, was=WRONG)
    counted = count(Slice(partition=0), moved, 0, Counts(-1, -1))
    assert total(counted) == Counts(0, 0)
