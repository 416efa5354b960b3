"""Reviewers merge and retire labels: what users said then teaches another label, or nothing, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from services.recorder.digest import digest
from services.trainer.desk import Desk
from services.trainer.regroup import regroup, regrouped
from shared.label_schema import Ruling, schema_of
from shared.lm.head import Head
from shared.policy import PolicyFile
from shared.tables import Example, ModelRow
from tests.unit.recorder_story import (
    BOB,
    DAN,
    EVE,
    MODEL,
    Database,
    added,
    corrected,
    crowned,
    decided,
    reviewed,
    trained,
)
from tests.unit.test_refresh import asked

SEEDS = [("seed one", "a"), ("seed two", "b"), ("seed three", "c")]
rulings = some.lists(
    some.builds(
        Ruling, some.sampled_from("abcd"), some.sampled_from(["merge", "retire", "restore"]), some.sampled_from("abcd")
    )
)


@pytest.fixture
def database() -> Database:
    here = Database()
    here.record(added(here, SEEDS))
    here.record(*corrected("p1", "first words", "a", 1), *corrected("p2", "other words", "b", 3, user=BOB))
    return here


def labels(here: Database) -> list[str]:
    (model,) = here.rows(ModelRow)
    return list(model.labels)


def targets(here: Database) -> dict[str, tuple[str, str | None]]:
    return {row.text: (row.reason or row.status, row.target) for row in here.rows(Example)}


@given(rulings)
def test_whatever_is_decided_a_label_stands_for_one_that_stands_or_for_nothing(told: list[Ruling]) -> None:
    schema = schema_of(told)
    for label in "abcd":
        standing = schema.standing(label)
        assert standing is None or schema.standing(standing) == standing
    if told and told[-1].decision == "merge" and told[-1].target not in (None, told[-1].label):
        assert schema.standing(told[-1].label) == told[-1].target


def test_labels_go_along_with_the_one_they_were_merged_into() -> None:
    merged = [Ruling("a", "merge", "b"), Ruling("b", "merge", "c")]
    assert schema_of(merged).into == {"a": "c", "b": "c"}
    assert schema_of([*merged, Ruling("c", "retire")]).into == {"a": None, "b": None, "c": None}
    assert schema_of([*merged, Ruling("a", "restore")]).into == {"b": "c"}
    assert schema_of([*merged, Ruling("c", "merge", "a")]).into == {"b": "a", "c": "a"}


@pytest.mark.usefixtures("everywhere")
def test_what_was_said_of_a_merged_label_teaches_the_other_one(database: Database) -> None:
    database.record(decided("a", "merge", "b"))
    assert targets(database)["first words"] == ("train", "b")
    assert targets(database)["seed one"] == ("train", "b")
    assert labels(database) == ["b", "c"]
    database.record(*corrected("p3", "new words", "a", 200, user=EVE))
    assert targets(database)["new words"] == ("train", "b")


@pytest.mark.usefixtures("everywhere")
def test_voices_for_merged_labels_agree(database: Database) -> None:
    database.record(*corrected("p3", "hard words", "a", 5, user=EVE), *corrected("p4", "hard words", "b", 7, user=DAN))
    assert targets(database)["hard words"][0] == "conflict"
    database.record(decided("a", "merge", "b"))
    assert targets(database)["hard words"] == ("train", "b")


@pytest.mark.usefixtures("everywhere")
def test_a_label_may_get_another_name(database: Database) -> None:
    database.record(decided("a", "merge", "fresh name"))
    assert targets(database)["first words"] == ("train", "fresh name")
    assert labels(database) == ["b", "c", "fresh name"]


@pytest.mark.usefixtures("everywhere")
def test_a_retired_label_is_no_lesson_and_no_evidence(database: Database) -> None:
    database.record(*corrected("p3", "held out", "a", 5, user=EVE, solicit=True), decided("a", "retire"))
    for text in ("first words", "seed one", "held out"):
        assert targets(database)[text] == ("retired_label", None)
    assert labels(database) == ["b", "c"]
    database.record(*corrected("p4", "late words", "a", 200, user=DAN))
    assert targets(database)["late words"] == ("retired_label", None)


@pytest.mark.usefixtures("everywhere")
def test_what_else_was_said_stands_when_a_label_is_retired(database: Database) -> None:
    database.record(*corrected("p3", "first words", "b", 5, user=EVE))
    assert targets(database)["first words"][0] == "conflict"
    database.record(decided("a", "retire"))
    assert targets(database)["first words"] == ("train", "b")


@pytest.mark.usefixtures("everywhere")
def test_a_reviewers_word_on_an_example_follows_the_label(database: Database) -> None:
    database.record(reviewed("other words", "relabel", "a"), decided("a", "merge", "c"))
    assert targets(database)["other words"] == ("train", "c")
    database.record(decided("c", "retire", when=120))
    assert targets(database)["other words"] == ("train", "b"), "what the user said is heard again"


@pytest.mark.usefixtures("everywhere")
def test_a_decision_is_taken_back_by_a_later_one(database: Database) -> None:
    before = targets(database), labels(database)
    database.record(decided("a", "merge", "b"), decided("c", "retire", when=111))
    assert (targets(database), labels(database)) != before
    database.record(decided("a", "restore", when=120), decided("c", "restore", when=121))
    assert (targets(database), labels(database)) == before


@pytest.mark.usefixtures("everywhere")
def test_a_decision_that_arrives_before_all_else_holds_all_the_same(database: Database) -> None:
    early = Database()
    ruling = decided("a", "merge", "b")
    early.record(ruling)
    early.record(*corrected("p1", "first words", "a", 1), *corrected("p2", "other words", "b", 3, user=BOB))
    early.record(added(early, SEEDS))
    database.record(ruling)
    assert digest(early.engine) == digest(database.engine)


@pytest.mark.usefixtures("everywhere")
def test_an_increment_goes_on_from_a_head_without_them(database: Database, tmp_path: Path) -> None:
    champion = crowned("v0", None, 51)
    database.record(trained("v0", None, [text for text, _ in SEEDS], ["a", "b", "c"], 50), champion)
    database.record(decided("a", "merge", "b"), decided("c", "retire", when=111), asked("r"))
    desk = Desk(database.engine, PolicyFile(), lambda: {(MODEL, "champion"): champion}, tmp_path)
    snapshot, _ = desk.prepare(asked("r"), "t/0/0")
    assert snapshot.regrouped == (("a", "b"), ("c", None))
    assert {lesson.target for lesson in (*snapshot.new, *snapshot.replay)} == {"b"}
    assert len(snapshot.replay) == 2, "what taught the merged label is replayed too"


@pytest.mark.usefixtures("everywhere")
def test_when_no_label_stands_the_next_version_is_made_anew(database: Database, tmp_path: Path) -> None:
    champion = crowned("v0", None, 51)
    database.record(trained("v0", None, ["seed one"], ["a"], 50), champion, decided("a", "retire"), asked("r"))
    desk = Desk(database.engine, PolicyFile(), lambda: {(MODEL, "champion"): champion}, tmp_path)
    snapshot, _ = desk.prepare(asked("r"), "t/0/0")
    assert (snapshot.refresh, snapshot.regrouped) == (True, ())


def test_rows_of_one_label_become_one_and_those_of_none_go(tmp_path: Path) -> None:
    head = Head(("a", "b", "c", "d"), torch.tensor([[2.0, 0], [0, 4], [1, 1], [5, 5]]), torch.tensor([1.0, 3, 5, 7]))
    made = regroup(head, {"a": "b", "c": None, "d": "name"})
    assert made.labels == ("b", "name")
    assert torch.allclose(made.weight[0], torch.tensor([1.0, 2]) / 5**0.5 * 3 * 2**0.5), "2 and 4 long: 3 √2"
    assert torch.equal(made.weight[1], head.weight[3])
    assert made.bias.tolist() == [2, 7]
    (tmp_path / "champion").mkdir()
    head.save(tmp_path / "champion")
    again = Head.load(regrouped(tmp_path / "champion", {"a": "b", "c": None, "d": "name"}, tmp_path / "made"))
    assert again.labels == made.labels
    assert torch.equal(again.weight, made.weight)
    assert Head.load(tmp_path / "champion").labels == head.labels, "the champion's files are as they were"
