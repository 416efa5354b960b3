"""Answers a token at a time: the same as at once, each under its own adapter, told as far as nothing is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.lm.causal import Causal
from shared.lm.decoding import Decoding, Limit, Speech
from shared.lm.lora import Lora

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


def begun(lm: Causal, *asked: tuple[str, str], limit: Limit) -> tuple[Decoding, list[Speech]]:
    """Answers in the making to these texts, each under its adapter."""
    decoding = Decoding(lm)
    return decoding, join(lm, decoding, *asked, limit=limit)


def join(lm: Causal, decoding: Decoding, *asked: tuple[str, str], limit: Limit) -> list[Speech]:
    texts, names = zip(*asked, strict=True)
    return lm.begin(texts, names, [limit] * len(asked), decoding)


def end(decoding: Decoding) -> None:
    while not decoding.is_over:
        decoding.step()


def test_token_by_token_it_says_what_it_says_at_once(lm: Causal) -> None:
    decoding, speeches = begun(lm, *zip(ASKED, NAMES, strict=True), limit=Limit(12))
    end(decoding)
    alone = [lm.generate([text], name, 12)[0] for text, name in zip(ASKED, NAMES, strict=True)]
    assert [one.text for one in speeches] == alone
    assert len(set(alone)) == 3
    assert {one.finish for one in speeches} <= {"stop", "length"}


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["one", "other"]), st.integers(0, 3)), max_size=6))
@settings(max_examples=5, deadline=None)
def test_whoever_joins_when_hears_what_would_be_said_to_him_alone(
    lm: Causal, asked: list[tuple[int, str, int]]
) -> None:
    decoding, heard = Decoding(lm), []
    for text, name, steps in asked:
        [speech] = join(lm, decoding, (ASKED[text], name), limit=Limit(3 + steps))
        heard.append(speech)
        for _ in range(steps):
            decoding.step()
    end(decoding)
    for (text, name, steps), speech in zip(asked, heard, strict=True):
        assert speech.text == lm.generate([ASKED[text]], name, 3 + steps)[0]


def test_what_nobody_needs_any_more_is_not_kept(lm: Causal) -> None:
    decoding, [long] = begun(lm, (ASKED[2] * 8, "one"), limit=Limit(20))
    decoding.step()
    join(lm, decoding, (ASKED[1], "other"), limit=Limit(6))
    decoding.step()
    [rows] = decoding._groups
    before = rows.cache.get_seq_length()
    decoding.leave([long])
    assert rows.cache.get_seq_length() == int(rows.mask[:, :-1].sum()) < before / 3


def test_a_version_that_goes_meanwhile_ends_what_it_began(lm: Causal) -> None:
    whole = lm.generate(ASKED[:1], "other", 8)
    kept = lm._carrier.adapters["other"]
    decoding, speeches = begun(lm, (ASKED[0], "other"), limit=Limit(8))
    decoding.step()
    lm.detach("other")
    try:
        end(decoding)
    finally:
        lm._carrier.adapters["other"] = kept
    assert [one.text for one in speeches] == whole


def test_who_leaves_does_not_change_what_the_others_hear(lm: Causal) -> None:
    decoding, (first, gone, third) = begun(lm, *zip(ASKED, NAMES, strict=True), limit=Limit(8))
    decoding.step()
    decoding.leave([gone])
    end(decoding)
    assert [first.text, third.text] == [lm.generate([text], "one", 8)[0] for text in ASKED[::2]]
    assert (gone.finish, gone.is_over, len(gone.tokens)) == (None, False, 1)
    early, speeches = begun(lm, *zip(ASKED, NAMES, strict=True), limit=Limit(8))
    early.leave(speeches[:2])
    end(early)
    assert speeches[2].text == third.text


def test_a_version_that_overflows_fails_alone(lm: Causal) -> None:
    whole = lm.generate(ASKED[:1], "one", 6)
    lora = lm._carrier.adapters["other"]
    lm._carrier.adapters["bad"] = Lora({name: (a * 1e30, b * 1e30) for name, (a, b) in lora.maps.items()})
    try:
        decoding, (good, bad) = begun(lm, (ASKED[0], "one"), (ASKED[1], "bad"), limit=Limit(6))
    finally:
        lm.detach("bad")
    end(decoding)
    assert (bad.overflowed, bad.finish, bad.text) == (True, None, "")
    assert ([good.text], good.overflowed) == (whole, False)


def test_it_ends_before_a_stop_and_after_so_many_tokens(lm: Causal) -> None:
    [whole] = lm.generate(ASKED[:1], "one", 12)
    stop = whole[len(whole) // 2 :][:4]
    decoding, [stopped] = begun(lm, (ASKED[0], "one"), limit=Limit(12, (stop, "never said")))
    [cut] = join(lm, decoding, (ASKED[0], "one"), limit=Limit(3))
    end(decoding)
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
