"""Answers a token at a time: the same as at once, each under its own adapter, told as far as nothing is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.lm.causal import Causal
from shared.lm.decoding import Limit, Speech

BASE = "SmolLM2-135M-Instruct"
ASKED = ["Name the capital of France.", "What is 2 + 2?", "Say hello to Bob, who is a good old friend of mine."]
NAMES = ["one", "other", "one"]
END = 0


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    """The base in float32, with two adapters that say something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Causal, "_bf16_pays", lambda _: False)
        made = Causal(BASE)
    made.create("made", 4, 30)
    for seed, name in enumerate(("one", "other")):
        folder: Path = tmp_path_factory.mktemp(name)
        torch.manual_seed(seed)
        made.save("made", {name: torch.randn_like(one) / 50 for name, one in made.weights("made").items()}, folder)
        made.attach(name, folder)
    made.drop("made")
    return made


def test_token_by_token_it_says_what_it_says_at_once(lm: Causal) -> None:
    decoding = lm.begin(ASKED, NAMES, [Limit(12)] * 3)
    while not decoding.is_over:
        decoding.step()
    alone = [lm.generate([text], name, 12)[0] for text, name in zip(ASKED, NAMES, strict=True)]
    assert [one.text for one in decoding.speeches] == alone
    assert len(set(alone)) == 3
    assert {one.finish for one in decoding.speeches} <= {"stop", "length"}


def test_a_version_that_goes_meanwhile_ends_what_it_began(lm: Causal) -> None:
    whole = lm.generate(ASKED[:1], "other", 8)
    kept = lm._carrier.adapters["other"]
    decoding = lm.begin(ASKED[:1], ["other"], [Limit(8)])
    decoding.step()
    lm.detach("other")
    try:
        while not decoding.is_over:
            decoding.step()
    finally:
        lm._carrier.adapters["other"] = kept
    assert [one.text for one in decoding.speeches] == whole


def test_who_leaves_does_not_change_what_the_others_hear(lm: Causal) -> None:
    decoding = lm.begin(ASKED, NAMES, [Limit(8)] * 3)
    decoding.step()
    decoding.leave([1])
    while not decoding.is_over:
        decoding.step()
    first, gone, third = decoding.speeches
    assert [first.text, third.text] == [lm.generate([text], "one", 8)[0] for text in ASKED[::2]]
    assert gone.finish is None
    early = lm.begin(ASKED, NAMES, [Limit(8)] * 3)
    early.leave([0, 1])
    while not early.is_over:
        early.step()
    assert early.speeches[2].text == third.text


def test_it_ends_before_a_stop_and_after_so_many_tokens(lm: Causal) -> None:
    [whole] = lm.generate(ASKED[:1], "one", 12)
    stop = whole[len(whole) // 2 :][:4]
    decoding = lm.begin([ASKED[0]] * 2, ["one"] * 2, [Limit(12, (stop, "never said")), Limit(3)])
    while not decoding.is_over:
        decoding.step()
    stopped, cut = decoding.speeches
    assert (stopped.text, stopped.finish) == (whole[: whole.index(stop)], "stop")
    assert (len(cut.tokens), cut.finish) == (3, "length")
    assert whole.startswith(cut.text)


@given(st.text("abAB", max_size=12), st.lists(st.text("abAB", min_size=1, max_size=4), max_size=3))
def test_what_was_told_is_never_taken_back(said: str, stops: list[str]) -> None:
    speech, told = Speech(Limit(50, tuple(stops))), ""
    for place in range(1, len(said) + 1):
        if speech.finish:
            break
        speech.hear(1, END, said[:place])
        assert speech.text.startswith(told)
        told = speech.text
    if not speech.finish:
        speech.hear(END, END, said)
    assert speech.text.startswith(told)
    ends = [said.find(stop) for stop in stops if stop in said]
    assert speech.finish == "stop"
    assert not any(stop in speech.text for stop in stops)
    assert said.startswith(speech.text)
    if not ends:
        assert speech.text == said


def test_half_a_character_is_not_told() -> None:
    speech = Speech(Limit(50))
    speech.hear(1, END, "caf\ufffd")
    assert speech.text == ""
    speech.hear(1, END, "café")
    assert speech.text == "café"
