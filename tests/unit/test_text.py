"""When two inputs are the same: equal up to case, accents, order and punctuation, and never by accident."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import assume, given
from hypothesis import strategies as st

from shared.text import class_of, example_id, fingerprint, normalise, short_hash

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=8)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT)
def test_the_normal_form_is_a_normal_form(text: str) -> None:
    assert normalise(normalise(normalise(text))) == normalise(normalise(text))


@given(WORDS, st.randoms())
def test_word_order_case_and_punctuation_do_not_matter(words: list[str], random: st.DrawFn) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fingerprint(" ".join(words)) == fingerprint("  ".join(shuffled).upper() + "?!")


@given(WORDS, WORDS)
def test_other_words_are_another_text(one: list[str], other: list[str]) -> None:
    assume(set(one) != set(other))
    assert fingerprint(" ".join(one)) != fingerprint(" ".join(other))


@given(TEXT, TEXT)
def test_the_same_example_has_the_same_fingerprint(one: str, other: str) -> None:
    if normalise(one) == normalise(other):
        assert fingerprint(one) == fingerprint(other)


@given(TEXT, TEXT)
def test_ids_begin_alike_where_texts_are_near_duplicates_and_nowhere_else(one: str, other: str) -> None:
    first, second = example_id("a", one), example_id("a", other)
    assert (class_of(first) == class_of(second)) == (fingerprint(one) == fingerprint(other))
    assert (first == second) == (normalise(one) == normalise(other))
    assert class_of(first) != class_of(example_id("b", one))


@given(WORDS, st.randoms())
def test_the_same_words_in_another_order_are_another_example_of_the_same_class(
    words: list[str], random: st.DrawFn
) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = example_id("a", " ".join(words)), example_id("a", " ".join(shuffled))
    assert class_of(first) == class_of(second)
    assert (first == second) == (words == shuffled)


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_parts_of_a_hash_do_not_run_into_each_other(one: list[str], other: list[str]) -> None:
    assert (short_hash(*one) == short_hash(*other)) == (one == other)


def test_examples() -> None:
    assert normalise("  Ｗhere IS\tmy\nparcel ") == "where is my parcel"
    assert fingerprint("Où est mon colis ?") == fingerprint("mon colis, ou est")
    assert fingerprint("?!") != fingerprint("…")
    assert fingerprint("don't stop") != fingerprint("dont stop")
    assert example_id("a", "Hello") == example_id("a", " hello ") != example_id("b", "hello")


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_gives_what_the_long_one_does(text: str) -> None:
    long = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
    assert normalise(text) == long
    words = sorted(set(re.findall(r"\w+", unicodedata.normalize("NFKD", long))))
    assert fingerprint(text) == short_hash(" ".join(words) if words else long)
