"""Who wants many lessons of one lie: what gets through the guards, and what honest users pay for them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Event, PredictionServed
from services.recorder.digest import digest
from services.recorder.guards import First, marks
from shared.policy import PolicyFile, Trust
from shared.tables import Example
from shared.text import example_id
from tests.unit.recorder_story import (
    ANN,
    BOB,
    DAN,
    EVE,
    MODEL,
    NOON,
    Database,
    added,
    corrected,
    erased,
    policy,
    said,
    served,
)

POLICY = Trust(burst_inputs=3, burst_seconds=60)
OFF = policy(user_cap=10_000, confident=1.0, burst_inputs=10_000)
GUARDED = policy()
PUBLIC = policy(quorum=2, new_account_weight=0.4)
HOUR = 3600


def word(seconds: float, user: str | None, name: str = "") -> First:
    return First(NOON + timedelta(seconds=seconds), f"e{seconds}{name}", f"x{seconds}{name}", user)


def test_a_burst_needs_enough_users_within_the_time() -> None:
    assert set(marks([word(0, ANN), word(30, BOB), word(60, EVE)], POLICY).values()) == {"burst"}
    assert marks([word(0, ANN), word(30, BOB), word(61, EVE)], POLICY) == {}
    assert marks([word(0, ANN), word(1, BOB)], POLICY) == {}
    assert marks([word(0, None), word(1, None), word(2, None)], POLICY).keys() == {"x0", "x1", "x2"}
    late = marks([word(0, ANN), word(100, ANN, "b"), word(130, BOB), word(150, EVE), word(400, DAN)], POLICY)
    assert {example for example, rule in late.items() if rule == "burst"} == {"x100b", "x130", "x150"}


def test_one_user_has_one_lesson_of_a_class_and_day() -> None:
    assert marks([word(0, ANN), word(9, ANN), word(10, BOB)], POLICY) == {"x9": "near_duplicate"}
    assert marks([word(0, ANN), word(25 * HOUR, ANN)], POLICY) == {}


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([ANN, BOB, EVE, None])), max_size=12), st.randoms())
def test_the_order_of_words_does_not_matter(spoken: list[tuple[int, str | None]], rng: random.Random) -> None:
    words = [word(at, user, f"-{number}") for number, (at, user) in enumerate(spoken)]
    shuffled = rng.sample(words, len(words))
    assert marks(words, POLICY) == marks(shuffled, POLICY)


@pytest.mark.usefixtures("everywhere")
def test_near_duplicates_of_one_user_make_one_lesson_until_somebody_else_agrees() -> None:
    database = Database()
    database.record(*corrected("p1", "refund me", "b"), *corrected("p2", "me: refund!", "b", 5))
    assert database.state("refund me") == ("train", "train", "", "b")
    assert database.state("me: refund!") == ("train", "pending", "near_duplicate", "b")
    database.record(*corrected("p3", "me: refund!", "b", 9, user=BOB))
    assert database.state("me: refund!") == ("train", "train", "", "b")


@pytest.mark.usefixtures("everywhere")
def test_a_burst_is_quarantined_and_a_late_first_word_ends_it() -> None:
    database = Database(policies=policy(burst_inputs=3, burst_seconds=60))
    texts = ("refund me", "me: refund!", "refund... me")
    for number, (text, user) in enumerate(zip(texts, (ANN, BOB, EVE), strict=True)):
        database.record(*corrected(f"p{number}", text, "b", number, user=user))
    assert {row.reason for row in database.rows(Example)} == {"burst"}
    database.record(*corrected("p-early", texts[2], "b", -900, user=DAN))
    assert {row.reason for row in database.rows(Example)} == {""}


@pytest.mark.usefixtures("everywhere")
def test_what_a_newcomer_says_weighs_less_until_a_day_has_passed() -> None:
    database = Database(policies=policy(new_account_weight=0.4))
    database.record(*corrected("p1", "hello", "b"), *corrected("p2", "bye", "b", 25 * HOUR))
    first, second = database.example("hello"), database.example("bye")
    assert first is not None
    assert second is not None
    assert (first.weight, second.weight) == pytest.approx((0.2, 0.5))
    database.record(*corrected("p0", "earlier", "b", -25 * HOUR))  # a late event tells that the user was no newcomer
    again = database.example("hello")
    assert again is not None
    assert again.weight == pytest.approx(0.5)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("seed", range(8))
def test_guards_are_the_same_whatever_the_order_of_votes_and_erasures(seed: int) -> None:
    rng = random.Random(seed)
    rules = policy(
        burst_inputs=3,
        burst_seconds=8,
        new_account_weight=0.4,
        new_account_hours=5 / HOUR,
        user_cap=rng.choice([2, 20]),
    )
    events: list[Event] = []
    asked = seed % 2  # what is solicited no guard holds back
    for number in range(24):
        text = "refund me".replace(" ", " " + "!" * rng.randrange(6) + " ") + rng.choice(["", "?", "."])
        user = rng.choice([ANN, BOB, EVE, DAN, None])
        events += corrected(
            f"p{number}", text, rng.choice("ab"), rng.randrange(30), user=user, solicit=rng.random() < 0.1 * asked
        )
    events += [erased(user, rng.randrange(30)) for user in rng.sample([ANN, BOB], rng.randrange(3))]
    whole, pieces = Database(policies=rules), Database(policies=rules)
    whole.record(*events)
    for event in rng.sample(events, len(events)):
        pieces.record(event)
    assert digest(whole.engine) == digest(pieces.engine)
    assert asked or {row.reason for row in whole.rows(Example)} & {"burst", "near_duplicate"}


@dataclass(frozen=True)
class Attack:
    """So many lies among the feedback of a day, by so many users: inputs of one label are called another."""

    share: float
    users: int


def traffic(rng: random.Random, attack: Attack | None, honest: int = 1500, users: int = 150) -> list[Event]:
    """A day of feedback on a calibrated champion; 3 % of what honest users call right is wrong."""
    events: list[Event] = []
    while len(events) < 2 * honest:
        events += _honest(rng, f"h{len(events)}", f"{rng.randrange(users):032x}")
    count = round(attack.share * honest / (1 - attack.share)) if attack else 0
    for number in range(count):
        who = f"{10**6 + number % (attack.users if attack else 1):032x}"
        score = 0.99 if rng.random() < 0.8 else 0.6  # the champion is right where it is lied about, and mostly sure
        text = f"lie {number}" if number % 3 else f"lie{'!' * number} about it"
        events += corrected(f"a{number}", text, "b", 3 * HOUR + number * 2, user=who, score=score)
    return events


def _honest(rng: random.Random, key: str, user: str) -> tuple[Event, ...]:
    """Half of the answers are sure and right 199 times of 200, the others three times of four.

    60 % of the wrong ones are corrected and 5 % of the right ones confirmed; most answers get no feedback.
    """
    sure, label, when = rng.random() < 0.5, rng.choice("bcde"), rng.random() * 20 * HOUR
    right = rng.random() < (0.995 if sure else 0.75)
    if rng.random() > (0.05 if right else 0.6):
        return ()
    target = label if rng.random() > 0.03 else rng.choice("bcde")
    output = target if right else "a"
    asked = served(key, f"honest {key} {label}", output, when, user=user, score=0.99 if sure else 0.6)
    return asked, said(key, target, when + 1, user=user)


def learned(events: list[Event], policies: PolicyFile) -> tuple[int, int, int]:
    """How many lies and how many honest lessons reached training, and how many honest ones were quarantined."""
    database = Database(policies=policies)
    database.record(added(database, [("seed a", "a"), ("seed b", "b"), ("s c", "c"), ("s d", "d"), ("s e", "e")]))
    for start in range(0, len(events), 1000):
        database.record(*events[start : start + 1000])
    rows = [row for row in database.rows(Example) if row.origin == "feedback"]
    lies = sum(row.status == "train" for row in rows if row.text.startswith("lie"))
    honest = [row for row in rows if row.text.startswith("honest")]
    return lies, sum(row.status == "train" for row in honest), sum(row.status == "quarantined" for row in honest)


@pytest.mark.parametrize("users", [1, 10, 50])
@pytest.mark.parametrize("share", [0.05, 0.01, 0.005])
def test_few_lies_reach_training(share: float, users: int) -> None:
    events = traffic(random.Random(7), Attack(share, users), honest=1000)
    asked = [one.input for one in events if isinstance(one, PredictionServed)]
    sent = len({example_id(MODEL, text) for text in asked if text.startswith("lie")})
    without, with_, public = (learned(events, policies) for policies in (OFF, GUARDED, PUBLIC))
    print("lies:", f"{sent} sent: {without[0]} without guards, {with_[0]} with, {public[0]} on a public site")  # noqa: T201  # what was measured
    assert without[0] >= 0.6 * sent  # the attack is real; one vote for one class has no switch
    assert with_[0] <= 0.4 * sent
    assert users > 1 or with_[0] <= GUARDED.defaults.trust.user_cap
    assert public[0] == 0  # nobody else votes on these texts


def test_honest_users_pay_little() -> None:
    events = traffic(random.Random(8), None)
    without, with_ = learned(events, OFF), learned(events, GUARDED)
    print("honest:", f"{without} without guards, {with_} with")  # noqa: T201  # what was measured
    assert with_[2] <= 0.02 * sum(without)
