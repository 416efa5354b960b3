"""What an increment learns from: only lessons, the oldest first, nobody too loud, no label too common."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as some
from sqlmodel import Session

from services.trainer.selection import Row, new_rows, per_label, replay_rows, texts_of, within_user_share
from shared.policy import Policy, Training, Trust
from shared.tables import Example
from shared.text import short_hash
from tests.unit.example_rows import Cost, cost, database, example
from tests.unit.recorder_story import MODEL

STATUSES = ("pending", "train", "holdout", "quarantined")
EVERYBODY = Policy(trust=Trust(user_share=1.0))
users = some.sampled_from(["ann", "bob", "eve", None])


def rows_of(*given_by: str | None) -> list[Row]:
    return [Row(f"e{number}", "a", 0.5, user) for number, user in enumerate(given_by)]


def everything() -> list[Example]:
    """An example of each status, on each side, learned and not."""
    kinds = itertools.product(STATUSES, ("train", "holdout", "anchor"), (None, "v0"))
    return [
        example(number, status=status, side=side, learned_in=learned)
        for number, (status, side, learned) in enumerate(kinds)
        if (status, side) not in {("train", "anchor"), ("holdout", "train")}  # which the recorder never makes
    ]


@given(some.lists(users), some.floats(0, 1))
def test_no_user_gives_more_than_the_share_and_nobody_else_waits(given_by: list[str | None], share: float) -> None:
    rows = rows_of(*given_by)
    kept = within_user_share(rows, share)
    cap = max(3, int(share * len(rows)))
    assert kept == [row for row in rows if row in kept]
    assert [row for row in kept if row.user is None] == [row for row in rows if row.user is None]
    voices = Counter(row.user for row in kept if row.user)
    assert voices == {user: min(cap, count) for user, count in Counter(filter(None, given_by)).items()}


@given(some.sets(some.text(min_size=1, max_size=3), min_size=1), some.integers(0, 500))
def test_replay_is_balanced_over_the_labels(labels: set[str], total: int) -> None:
    counts = per_label(labels, total)
    assert counts.keys() == labels
    assert sum(counts.values()) == total
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts == per_label(sorted(labels, reverse=True), total)


def test_only_lessons_are_learned_and_only_what_was_learned_is_replayed() -> None:
    examples = everything()
    lessons = {row.id: row.learned_in for row in examples if row.status == "train"}
    with database(examples) as session:
        new = {row.id for row in new_rows(session, MODEL, EVERYBODY)}
        replayed = {row.id for row in replay_rows(session, MODEL, ["a"], 100, "seed")}
        texts = texts_of(session, [row.id for row in examples])
    assert new == {id for id, learned in lessons.items() if learned is None}
    assert replayed == {id for id, learned in lessons.items() if learned == "v0"}
    assert texts.keys() == lessons.keys()


def test_other_models_and_rows_without_a_target_teach_nothing() -> None:
    with database([example(1, model="other"), example(2, target=None)]) as session:
        assert new_rows(session, MODEL, EVERYBODY) == []


def test_new_rows_come_oldest_first_and_the_rest_waits() -> None:
    policy = EVERYBODY.model_copy(update={"training": Training(max_new=3)})
    with database([example(number) for number in (5, 3, 9, 1, 7)]) as session:
        chosen = new_rows(session, MODEL, policy)
    assert [row.id for row in chosen] == [example(number).id for number in (1, 3, 5)]


def test_one_user_does_not_fill_an_increment() -> None:
    loud = [example(number, user_key="loud") for number in range(40)]
    others = [example(number, user_key=f"user {number}") for number in range(40, 100)]
    with database(loud + others) as session:
        chosen = new_rows(session, MODEL, Policy())
    voices = Counter(row.user for row in chosen)
    assert voices.pop("loud") == 5
    assert len(voices) == 60


def test_a_rare_label_is_replayed_as_often_as_a_common_one() -> None:
    common = [example(number, "common", learned_in="v0") for number in range(200)]
    rare = [example(number, "rare", learned_in="v0") for number in range(200, 220)]
    with database(common + rare) as session:
        chosen = replay_rows(session, MODEL, ["common", "rare"], 30, "seed")
        few = replay_rows(session, MODEL, ["common", "rare"], 100, "seed")
    assert Counter(row.target for row in chosen) == {"common": 15, "rare": 15}
    assert Counter(row.target for row in few) == {"common": 50, "rare": 20}
    assert len({row.id for row in few}) == 70, "no row is drawn twice"


def test_the_replay_is_drawn_by_the_seed_and_by_nothing_else() -> None:
    def examples() -> list[Example]:
        return [example(number, learned_in="v0") for number in range(200)]

    with database(examples()) as session, database(reversed(examples())) as other:
        first = replay_rows(session, MODEL, ["a"], 20, "seed")
        assert replay_rows(other, MODEL, ["a"], 20, "seed") == first
        seeds = [short_hash(str(number)) for number in range(30)]
        draws = Counter(row.id for seed in seeds for row in replay_rows(session, MODEL, ["a"], 20, seed))
    assert len(draws) > 150, "every row has its turn"


def test_without_labels_the_replay_is_drawn_from_everything() -> None:
    outputs = [example(number, f"output {number % 7} " * 200, learned_in="v0") for number in range(200)]
    learned = {row.id: row.target for row in outputs}
    with database([*outputs, example(200), example(201, learned_in="v0", status="quarantined")]) as session:
        chosen = replay_rows(session, MODEL, [], 50, "seed")
        other = replay_rows(session, MODEL, [], 50, "another seed")
        everything = replay_rows(session, MODEL, [], 500, "seed")
    assert len({row.id for row in chosen}) == 50
    assert chosen != other
    assert {row.id: row.target for row in everything} == learned


def choose(session: Session) -> Cost:
    """What it costs to choose an increment of fixed size."""
    policy = EVERYBODY.model_copy(update={"training": Training(max_new=20)})
    rows: list[Row] = []

    def work() -> None:
        rows.extend(new_rows(session, MODEL, policy))
        rows.extend(replay_rows(session, MODEL, ["a", "b"], 40, "seed"))
        rows.extend(replay_rows(session, MODEL, [], 40, "seed"))
        texts_of(session, [row.id for row in rows])

    spent = cost(session, work)
    assert len(rows) == 100
    return spent


def test_a_longer_log_takes_no_more_queries() -> None:
    short, long = costs()
    assert len(long.statements) <= len(short.statements) <= 8


def test_a_longer_log_takes_no_more_work() -> None:
    short, long = costs()
    assert long.instructions < 1.5 * short.instructions


def costs() -> tuple[Cost, Cost]:
    """What the same choice costs with a short log and with one ten times as long."""
    spent = []
    for length in (300, 3000):
        learned = [example(number, "ab"[number % 2], learned_in="v0") for number in range(length)]
        waiting = [example(number, "ab"[number % 2]) for number in range(length, length * 2)]
        with database(learned + waiting) as session:
            spent.append(choose(session))
    return spent[0], spent[1]
