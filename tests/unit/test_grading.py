"""When an output is right: the same text, or the same JSON however it is spelt; and how near a wrong one comes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import MAX_OUTPUT
from shared.grading import MAX_DEPTH, meaning, rouge_l, same_output, tidy

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
)
STRUCTURES = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
WORDS = st.lists(st.sampled_from("abcde"), max_size=9)


@pytest.mark.parametrize(
    ("output", "target"),
    [
        ("track_order", " track_order\n"),
        ('{"b":2,"a":1}', '{"a": 1, "b": 2}'),
        ('{"city": "Köln"}', '{"city": "K\\u00f6ln"}'),
        ("[1.0, 1e2, -0]", "[1, 100, 0]"),
        ('\n{"a": [1,\t2]} ', '{"a":[1,2]}'),
        ("{not json", "{not json"),
    ],
)
def test_what_says_the_same_is_the_same(output: str, target: str) -> None:
    assert same_output(output, target)
    assert same_output(target, output)


@pytest.mark.parametrize(
    ("output", "target"),
    [
        ("1", "1.0"),
        ('"a"', "a"),
        ("Track_order", "track_order"),
        ("[1, 2]", "[2, 1]"),
        ("[true]", "[1]"),
        ("[false]", "[0]"),
        ("[null]", '["null"]'),
        ("[1]", '["1"]'),
        ("[9007199254740993]", "[9007199254740992]"),  # equal as doubles
        ('{"a": 1, "a": 2}', '{"a": 2}'),
        ("[NaN]", "[ NaN]"),
        ('{"a": ""}', "{}"),
        ("[]", "{}"),
        ("[[], []]", "[[[]]]"),
        ('{"a":1,}', '{"a":1}'),
    ],
)
def test_what_says_something_else_is_not(output: str, target: str) -> None:
    assert not same_output(output, target)
    assert not same_output(target, output)


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [_shuffled(item, chance) for item in value]
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        return {key: _shuffled(value[key], chance) for key in keys}
    return value


@given(STRUCTURES, st.randoms(use_true_random=False), st.sampled_from([None, 2]), st.booleans())
def test_however_a_structure_is_spelt_it_is_the_same(
    value: Any, chance: random.Random, indent: int | None, ascii_only: bool
) -> None:
    spelt = json.dumps(_shuffled(value, chance), indent=indent, ensure_ascii=ascii_only)
    assert same_output(f"  {spelt}\n", json.dumps(value, separators=(",", ":")))


@given(STRUCTURES, STRUCTURES)
@example([True], [1])
@example([0.0], [False])
def test_other_values_are_never_the_same(one: Any, other: Any) -> None:
    """Python calls 1, 1.0 and True equal; types are compared beside the values to tell them apart."""
    assert same_output(json.dumps(one), json.dumps(other)) == (_typed(one) == _typed(other))


def _typed(value: Any) -> Any:
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return type(value) is bool, value


@given(st.text(), st.text())
def test_two_outputs_share_a_key_when_they_are_the_same(one: str, other: str) -> None:
    assert same_output(one, other) == (meaning(one) == meaning(other))


@given(STRUCTURES)
def test_the_key_of_a_key_is_itself(value: Any) -> None:
    key = meaning(json.dumps(value))
    assert meaning(key) == key


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 900, MAX_OUTPUT // 2])
def test_nesting_has_an_end(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    assert same_output(nested, nested)
    assert same_output(nested, f"[ {nested[1:]}") == (depth <= MAX_DEPTH)


def test_a_number_of_any_size_is_only_a_number() -> None:
    assert same_output(f"[{'9' * 9000}]", f"[ {'9' * 9000}.0]")
    assert not same_output("[1e999999999]", "[1e999999998]")
    assert not same_output(f"[1e{'9' * 30}]", f"[ 1e{'9' * 30}]")  # no number that anybody can hold: text


@pytest.mark.parametrize(
    ("output", "target", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # Lin 2004, section 3.1
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("The cat!", "the CAT", 1.0),
        ("", "", 0.0),
        ("a b", "c", 0.0),
        ("a b c d", "b d", 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        ('{"intent": "track_order"}', '{"intent": "track_parcel"}', 2 / 3),
    ],
)
def test_rouge_l_by_hand(output: str, target: str, score: float) -> None:
    assert rouge_l(output, target) == pytest.approx(score)


def _longest(one: list[str], other: list[str]) -> int:
    """The textbook's recursion."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(WORDS, WORDS)
def test_rouge_l_is_that_of_the_textbook(one: list[str], other: list[str]) -> None:
    common = _longest(one, other)
    expected = 2 * common / (len(one) + len(other)) if common else 0.0
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)
    assert rouge_l(" ".join(other), " ".join(one)) == pytest.approx(expected)


@given(STRUCTURES | st.text())
@example({"a": 9007199254740993.0})
def test_what_is_taught_says_the_same_in_one_spelling(value: Any) -> None:
    spellings = [value] if isinstance(value, str) else [json.dumps(value), json.dumps(value, indent=1)]
    taught = {tidy(spelling) for spelling in spellings}
    assert len(taught) == 1
    for one in taught:
        assert same_output(one, spellings[0])
        assert tidy(one) == one


def test_keys_stay_where_they_were_and_what_cannot_be_spelt_anew_is_left() -> None:
    assert tidy(' {"b":1,\n"a":"ü"} ') == '{"b": 1, "a": "ü"}'
    assert tidy('{"a": 1, "a": 2}') == '{"a": 1, "a": 2}'
    assert tidy("{not json") == "{not json"
    assert tidy(" two words ") == "two words"
