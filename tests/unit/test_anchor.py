"""The golden anchor after a model was added: reviewers edit it, users cannot, and verdicts say which one they used."""

from __future__ import annotations

import itertools
import random

import pytest

from schemas.events import Event, ReviewDecided
from services.evaluator.evidence import Evidence, gather
from services.recorder.digest import digest
from shared.policy import People, Policy, PolicyFile
from shared.text import example_id
from tests.unit.recorder_story import (
    ANN,
    BOB,
    EVE,
    MODEL,
    Database,
    added,
    corrected,
    decided,
    edited,
    erased,
    reviewed,
    said,
    served,
    trained,
)

pytestmark = pytest.mark.usefixtures("everywhere")

SEEDS = [("where is it", "a"), ("pay me back", "b")]
ANCHOR = [("the golden one", "a"), ("the silver one", "b")]
USERS = (ANN, BOB, EVE)


def told(*events: Event, policies: PolicyFile | None = None) -> Database:
    database = Database(policies or PolicyFile())
    database.record(added(database, SEEDS, ANCHOR))
    database.record(*events)
    return database


def judged_on(database: Database, *taught: str) -> Evidence:
    return gather(database.engine, MODEL, 3000, {example_id(MODEL, text) for text in taught})


def rows(database: Database) -> dict[str, str]:
    return {row.text: row.target for row in judged_on(database).anchor}


def test_a_row_is_added_changed_retired_and_added_again() -> None:
    database = told(edited("my copper one", "add", "b"))
    assert rows(database) == dict(ANCHOR) | {"my copper one": "b"}
    assert database.state("my copper one") == ("anchor", "holdout", "", "b")
    database.record(edited("my copper one", "relabel", "a", 110), edited("the golden one", "relabel", "b", 111))
    assert rows(database) == {"the golden one": "b", "the silver one": "b", "my copper one": "a"}
    database.record(edited("my copper one", "retire", when=120), edited("the silver one", "retire", when=121))
    assert rows(database) == {"the golden one": "b"}
    assert database.state("my copper one") == ("anchor", "quarantined", "rejected_by_reviewer", "a")
    database.record(edited("the silver one", "add", "a", 130))
    assert rows(database) == {"the golden one": "b", "the silver one": "a"}


def test_what_is_in_the_anchor_is_neither_lesson_nor_evidence_whatever_users_say_of_it() -> None:
    before = corrected("p", "a copper one", "b", solicit=True)
    database = told(*before, edited("a copper one", "add", "a"))
    users = [said("p", "b", 200 + n, user=user, name=f"-{n}") for n, user in enumerate(USERS)]
    twin = corrected("q", "copper one, a!", "b", 300, user=BOB)
    asked = corrected("r", "a copper one", "b", 310, user=EVE, solicit=True)
    database.record(*users, *twin, *asked)
    assert rows(database) == dict(ANCHOR) | {"a copper one": "a"}
    assert judged_on(database).solicited == ()
    assert database.state("copper one, a!") == ("anchor", "quarantined", "anchor_twin", None)
    database.record(edited("a copper one", "retire", when=400))
    assert database.state("a copper one") == ("anchor", "quarantined", "rejected_by_reviewer", "a"), (
        "it stays unlearned"
    )


def test_what_goes_with_a_label_is_not_handed_to_users() -> None:
    database = told(edited("a copper one", "add", "b"), *corrected("p", "a copper one", "a"))
    database.record(*corrected("q", "the silver one", "a", user=BOB), decided("b", "retire"))
    assert rows(database) == {"the golden one": "a"}
    database.record(reviewed("a copper one", "accept", when=120))
    assert rows(database) == {"the golden one": "a"}
    database.record(decided("b", "merge", "a", 130))
    assert rows(database) == {"the golden one": "a", "the silver one": "a", "a copper one": "a"}


def test_retiring_what_was_never_there_says_nothing_and_an_unknown_label_is_not_learned() -> None:
    database = told(*corrected("p", "lost it", "b"), edited("lost it", "retire"), edited("unheard", "retire"))
    assert database.state("lost it") == ("train", "train", "", "b")
    assert database.state("where is it") == ("train", "train", "", "a")
    assert database.state("unheard") is None
    database.record(edited("a copper one", "add", "odd", 110), *corrected("q", "other", "odd", 120))
    assert database.state("other") == ("train", "pending", "new_label", "odd")


def test_of_a_decision_on_the_example_and_an_edit_the_newer_one_holds() -> None:
    database = told(reviewed("the golden one", "reject", when=100))
    assert rows(database) == {"the silver one": "b"}
    database.record(edited("the golden one", "relabel", "b", 110))
    assert rows(database) == {"the golden one": "b", "the silver one": "b"}
    database.record(reviewed("the golden one", "relabel", "a", 120))
    assert rows(database) == dict(ANCHOR)


def test_the_version_of_the_anchor_is_what_is_in_it() -> None:
    database = told()
    first = judged_on(database).anchor_version
    database.record(edited("the silver one", "relabel", "a"))
    second = judged_on(database).anchor_version
    database.record(edited("the silver one", "relabel", "b", 120))
    assert first is not None
    assert (second != first, judged_on(database).anchor_version) == (True, first)
    empty = Database()
    empty.record(added(empty, SEEDS))
    assert judged_on(empty).anchor_version is None


def test_what_the_candidate_was_taught_before_does_not_judge_it() -> None:
    lesson = corrected("p", "a copper one", "b")
    database = told(
        *lesson, trained("v1", lessons=["a copper one"], labels=["a", "b"]), edited("a copper one", "add", "b")
    )
    all_of_it, for_candidate = judged_on(database), judged_on(database, "a copper one")
    assert {row.text for row in all_of_it.anchor} - {row.text for row in for_candidate.anchor} == {"a copper one"}
    assert for_candidate.anchor_version == all_of_it.anchor_version


def test_where_two_must_agree_one_word_changes_nothing() -> None:
    def after(two: str, *events: Event) -> dict[str, str]:
        people = People.model_validate({"two": two, "hours": 1})
        return rows(told(*events, policies=PolicyFile(defaults=Policy(people=people))))

    def say(when: float, by: str, key: str, target: str = "b") -> ReviewDecided:
        return edited("a copper one", "add", target, when, by=by, key=key)

    first = say(100, "rita", "office")
    assert "a copper one" not in after("names", first)
    assert "a copper one" not in after("names", first, say(110, "rita", "office"))
    assert "a copper one" not in after("names", first, say(110, "omar", "office", "a"))
    assert "a copper one" not in after("names", first, say(100 + 3601, "omar", "office"))
    assert after("names", first, say(110, "omar", "office"))["a copper one"] == "b"
    assert "a copper one" not in after("keys", first, say(110, "omar", "office"))
    assert after("keys", first, say(110, "omar", "desk"))["a copper one"] == "b"
    assert rows(told(first))["a copper one"] == "b"


def test_in_whatever_order_topics_are_read_the_same_is_known() -> None:
    def parts(database: Database) -> list[list[Event]]:
        card = added(database, SEEDS, ANCHOR)
        feedback: list[Event] = [*corrected("p", "a copper one", "odd", solicit=True), *corrected("q", "lost it", "b")]
        reviews: list[Event] = [
            reviewed("a copper one", "accept", when=5),
            edited("a copper one", "add", "b", 10),
            edited("where is it", "add", "b", 11),
            edited("the golden one", "retire", when=12),
            edited("lost it", "retire", when=13),
        ]
        versions: list[Event] = [trained("v0", lessons=["a copper one"], labels=["a", "b"])]
        return [[card], feedback, reviews, versions, [erased(ANN)], [served("s", "one copper a", audit=True)]]

    found = set()
    for order in random.Random(0).sample(list(itertools.permutations(range(6))), 24):
        database = Database()
        for number in order:
            database.record(*parts(database)[number])
        assert rows(database) == {"the silver one": "b", "a copper one": "b", "where is it": "b"}
        found.add(digest(database.engine))
    assert len(found) == 1
