"""The rules by which votes become examples, one story each, and what holds for any votes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.curation import Case, Curated, curate
from services.recorder.heads import Member, side_of
from services.recorder.join import judge
from services.recorder.votes import Ruling, Vote, agreement, known_target, tally, voices
from shared.policy import Trust
from shared.trust import MOST_HEARD, combined, posterior_mean, vote_weight
from tests.unit.recorder_story import ANN, BOB, EVE, NOON

POLICY = Trust()


def vote(target: str, user: str | None = ANN, second: int = 0, **more: object) -> Vote:
    name = f"{user}-{second}"
    plain = Vote(name, NOON + timedelta(seconds=second), f"p-{name}", user, "correction", target, False, True)
    return replace(plain, **more)  # type: ignore[arg-type]


def judged(*votes: Vote, trusted: dict[str, float] | None = None, policy: Trust = POLICY, **more: object) -> Curated:
    case = replace(Case("feedback", "train", votes=votes, labels=frozenset("ab")), **more)  # type: ignore[arg-type]
    return curate(case, trusted or {}, policy)


@pytest.mark.parametrize(
    ("kind", "value", "target", "wrong"),
    [
        ("correction", "b", "b", True),
        ("correction", " a ", "a", False),
        ("correction", "  ", None, None),
        ("thumbs", "up", "a", False),
        ("thumbs", "down", None, True),
        ("rating", 5, "a", False),
        ("rating", 4, "a", False),
        ("rating", 3, None, None),
        ("rating", 2, None, True),
        ("rating", 1, None, True),
        ("comment", "up", None, None),
        ("preference", {"chosen": "b", "rejected": "a"}, None, None),
    ],
)
def test_feedback_tells_what_is_right_as_far_as_it_does(
    kind: str, value: object, target: str | None, wrong: bool | None
) -> None:
    told = judge(kind, value, "a")
    assert (told.target, told.wrong) == (target, wrong)


def test_one_named_user_makes_a_lesson() -> None:
    assert judged(vote("b")) == Curated("train", "", "b", 0.5, 1)


def test_on_side_holdout_a_solicited_answer_is_evidence_even_without_a_name() -> None:
    assert judged(vote("b", None, solicited=True), side="holdout") == Curated("holdout", "", "b", 0.5, 1)


def test_on_side_holdout_volunteers_are_not_heard_until_it_graduates() -> None:
    votes = (vote("a", ANN, solicited=True, wrong=False), vote("b", BOB, 1), vote("b", EVE, 2))
    assert judged(*votes, side="holdout").target == "a"
    assert judged(votes[1], side="holdout").reason == "unsolicited"
    assert judged(*votes, side="holdout", graduated=True) == Curated("train", "", "b", 0.5, 3)


def test_nameless_voices_need_a_second_one_from_another_prediction() -> None:
    assert judged(vote("b", None)) == Curated("pending", "quorum", "b", 0.5, 1)
    assert judged(vote("b", None), vote("b", None, 1)) == Curated("train", "", "b", 0.75, 2)
    assert judged(vote("b", None, prediction_id="p"), vote("b", None, 1, prediction_id="p")).reason == "quorum"


def test_a_quorum_of_two_waits_for_the_second_user() -> None:
    policy = Trust(quorum=2)
    assert judged(vote("b"), vote("b", second=1), policy=policy).reason == "quorum"
    assert judged(vote("b"), vote("b", BOB), policy=policy).status == "train"


def test_a_user_who_changes_their_mind_is_heard_once_with_the_last_word() -> None:
    assert judged(vote("a", second=1), vote("b", second=2)) == Curated("train", "", "b", 0.5, 1)


def test_a_dispute_is_for_a_person() -> None:
    assert judged(vote("a"), vote("b", BOB)).reason == "conflict"
    assert judged(vote("a"), vote("a", BOB), vote("b", EVE), trusted={EVE: 0.51}).reason == "conflict"
    trusted = {ANN: 0.9, BOB: 0.2}
    assert judged(vote("a"), vote("b", BOB), trusted=trusted).status == "train"


def test_two_against_one_is_a_lesson_that_weighs_less_than_three_of_a_mind() -> None:
    split = judged(vote("a"), vote("a", BOB), vote("b", EVE))
    assert split == Curated("train", "", "a", 0.5, 3)
    assert split.weight < judged(vote("a"), vote("a", BOB), vote("a", EVE)).weight


def test_a_thumb_weighs_half_a_correction() -> None:
    made = judged(vote("a", kind="thumbs", wrong=False))
    assert (made.status, made.weight) == ("train", 0.25)


def test_a_label_that_is_not_the_models_waits() -> None:
    assert judged(vote("c")) == Curated("pending", "new_label", "c", 0.5, 1)
    assert judged(vote("c"), labels=None).status == "train"


def test_one_volunteer_against_a_sure_champion_is_quarantined() -> None:
    sure = vote("b", score=0.99)
    assert judged(sure).reason == "confident_champion"
    assert judged(replace(sure, score=0.97)).status == "train"
    assert judged(replace(sure, knew=False)).status == "train"
    assert judged(replace(sure, wrong=False)).status == "train"
    assert judged(sure, vote("b", BOB, score=0.99)).status == "train"
    assert judged(replace(sure, solicited=True), side="holdout").status == "holdout"
    assert judged(sure, side="holdout", graduated=True).reason == "confident_champion"


def test_only_voices_beyond_their_cap_is_nobody() -> None:
    assert judged(capped=True) == Curated("quarantined", "user_cap", None, 0.0, 0)


def test_where_nobody_said_what_is_right_there_is_nothing_to_learn_by_heart() -> None:
    assert judged() == Curated("pending", "no_target", None, 0.0, 0)
    assert judged(ruling=Ruling("accept")).reason == "no_target"
    assert judged(ruling=Ruling("relabel", "b")) == Curated("train", "", "b", 1.0, 0)


def test_a_reviewer_has_the_last_word() -> None:
    votes = (vote("a"), vote("c", BOB))
    assert judged(*votes, ruling=Ruling("reject")).reason == "rejected_by_reviewer"
    assert judged(*votes, ruling=Ruling("relabel", "z")) == Curated("train", "", "z", 1.0, 2)
    assert judged(vote("c"), ruling=Ruling("accept")) == Curated("train", "", "c", 1.0, 1)
    assert judged(ruling=Ruling("accept"), capped=True).reason == "user_cap"


def test_what_a_person_vouched_for_needs_no_votes() -> None:
    assert judged(origin="seed", vouched="a") == Curated("train", "", "a", 1.0, 0)
    anchor = judged(vote("b"), vote("b", BOB), origin="anchor", side="anchor", vouched="a")
    assert anchor == Curated("holdout", "", "a", 1.0, 2)


def test_a_twin_of_an_anchor_is_neither_lesson_nor_evidence() -> None:
    assert judged(vote("b"), side="anchor").reason == "anchor_twin"
    assert judged(vote("b"), side="anchor", ruling=Ruling("accept")).reason == "anchor_twin"


def test_the_side_of_a_class_is_that_of_its_first_word() -> None:
    late = Member("x", "feedback", "train", (NOON + timedelta(seconds=1), "e"), False)
    early = Member("y", "feedback", "train", (NOON, "e"), True)
    seed = Member("z", "seed", "train", (NOON + timedelta(seconds=9), "r"), False)
    assert side_of([late, early]) == "holdout"
    assert side_of([late, early, seed]) == "train"
    assert side_of([late, replace(seed, origin="anchor"), seed]) == "anchor"


def test_trust_is_earned_from_what_is_known_to_be_right() -> None:
    assert (posterior_mean(0, 0), posterior_mean(8, 0), posterior_mean(0, 8)) == (0.5, 0.9, 0.1)
    assert vote_weight(0.8, "thumbs") == 0.4
    assert combined([0.5, 0.5]) == 0.75
    heard = voices([vote("a", ANN, solicited=True), vote("b", BOB, 1), vote("a", EVE, 2), vote("a", None, 3)])
    assert agreement(heard, known_target(heard, None)) == {f"{BOB}-1": False, f"{EVE}-2": True}
    assert agreement(heard, known_target(heard, Ruling("relabel", "b"))) == {f"{BOB}-1": True, f"{EVE}-2": False}
    assert known_target(heard, Ruling("accept")) == "a"
    assert known_target(heard, Ruling("reject")) is None
    assert known_target(heard[1:], None) is None


some_votes = st.lists(
    st.builds(
        vote,
        st.sampled_from("abc"),
        st.sampled_from([ANN, BOB, EVE, None]),
        st.integers(0, 30),
        solicited=st.booleans(),
        wrong=st.booleans(),
        kind=st.sampled_from(["correction", "thumbs"]),
        score=st.sampled_from([None, 0.5, 0.99]),
    ),
    max_size=12,
    unique_by=lambda one: one.event_id,
)


@given(some_votes, st.sampled_from(["train", "holdout"]), st.randoms(use_true_random=False))
def test_the_order_of_votes_does_not_matter(votes: list[Vote], side: str, rng: object) -> None:
    shuffled = list(votes)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judged(*votes, side=side) == judged(*shuffled, side=side)


@given(some_votes, st.sampled_from(["train", "holdout"]), st.booleans())
def test_what_is_used_has_a_target_a_weight_and_no_reason(votes: list[Vote], side: str, graduated: bool) -> None:
    made = judged(*votes, side=side, graduated=graduated)
    usable = made.status in ("train", "holdout")
    assert usable == (made.reason == "")
    assert 0 <= made.weight <= 1
    if usable:
        assert made.target in ("a", "b")
        assert made.weight > 0
        assert (made.status == "holdout") == (side == "holdout" and not graduated)


@given(some_votes, st.data())
def test_evidence_does_not_depend_on_who_volunteered(votes: list[Vote], data: st.DataObject) -> None:
    solicited = [one for one in votes if one.solicited]
    kept = data.draw(st.lists(st.sampled_from(votes), unique=True)) if votes else []
    some = solicited + [one for one in kept if not one.solicited]
    with_, without = judged(*some, side="holdout"), judged(*solicited, side="holdout")
    if solicited:
        assert with_ == without


@given(some_votes)
def test_nobody_is_heard_twice_and_the_tally_is_complete(votes: list[Vote]) -> None:
    heard = voices(votes)
    assert len({one.speaker for one in heard}) == len(heard)
    assert {one.speaker for one in heard} == {one.speaker for one in votes}
    assert sum(len(side.votes) for side in tally(heard, {})) == len(heard)


def test_a_greeting_sent_a_million_times_stays_cheap() -> None:
    votes = [vote("a", f"{number:032x}", number) for number in range(MOST_HEARD + 50)]
    assert voices(votes) == tuple(votes[50:])
