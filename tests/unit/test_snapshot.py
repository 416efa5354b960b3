"""What an increment learns from is frozen: the same choice is the same version, and a crash finds it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from schemas.events import Event, ModelStateChanged, TrainingRequested
from services.trainer import desk as desks
from services.trainer.desk import Desk, NotYetError
from services.trainer.snapshot import Lesson, Pair, Snapshot, Thumb, freeze, frozen
from services.trainer.start import NothingToLearnError
from shared.policy import Policy, PolicyFile, Training
from shared.states import States
from shared.tables import open_database
from shared.text import example_id
from tests.unit.recorder_story import (
    ANN,
    BOB,
    DAN,
    EVE,
    MODEL,
    Database,
    added,
    at,
    corrected,
    crowned,
    erased,
    reviewed,
    said,
    served,
    trained,
)

ORIGIN = "requests/0/0"
SAID_RIGHT, SAID_WRONG = '{"do": "cancel"}', "I cannot do that."
SEEDS = [("where is it", "a"), ("pay me back", "b")]
LESSON = Lesson(id="0" * 32, target="a", weight=0.5)
PAIR = Pair(ids=("f-1", "f-2"), example_id="1" * 32, weight=0.5, chosen="a", rejected="b")
THUMB = Thumb(ids=("f-3",), example_id="2" * 32, weight=0.25, output="c", liked=False)
SNAPSHOT = Snapshot(
    request_id="r-1",
    model=MODEL,
    task="classification",
    base="base",
    parent="v0",
    parent_manifest="0" * 64,
    new=(LESSON,),
    replay=(),
    config=Training(),
)
CHANGES: dict[str, Any] = {
    "model": "other",
    "task": "generation",
    "base": "other",
    "parent": None,
    "parent_manifest": "1" * 64,
    "new": (LESSON, LESSON.model_copy(update={"id": "1" * 32})),
    "replay": (LESSON,),
    "pairs": (PAIR,),
    "thumbs": (THUMB,),
    "config": Training(rank=8),
    "refresh": True,
    "regrouped": (("a", "b"),),
}
lessons = some.lists(
    some.builds(Lesson, id=some.text("0123456789abcdef", min_size=8), target=some.text(), weight=some.floats(0, 1))
)


def ask(name: str = "r") -> TrainingRequested:
    return TrainingRequested(
        event_id=f"e-{name}",
        occurred_at=at(10),
        source="aggregator",
        request_id=name,
        model=MODEL,
        trigger="examples",
        requested_by="aggregator",
    )


def desk(database: Database, folder: Path, champion: ModelStateChanged | None = None) -> Desk:
    states: States = {(MODEL, "champion"): champion} if champion else {}
    return Desk(database.engine, PolicyFile(), lambda: states, folder)


@pytest.mark.parametrize("changed", CHANGES)
def test_anything_that_decides_what_is_learned_makes_another_version(changed: str) -> None:
    other = SNAPSHOT.model_copy(update={changed: CHANGES[changed]})
    assert other.version != SNAPSHOT.version


@pytest.mark.parametrize("changed", [{"id": "1" * 32}, {"target": "b"}, {"weight": 0.6}, {"rejected": "c"}])
def test_another_lesson_makes_another_version(changed: dict[str, Any]) -> None:
    other = SNAPSHOT.model_copy(update={"new": (LESSON.model_copy(update=changed),)})
    assert other.version != SNAPSHOT.version


@pytest.mark.parametrize(
    "changed", [{"ids": ("f-2", "f-1")}, {"example_id": "3" * 32}, {"weight": 0.6}, {"chosen": "c"}]
)
def test_another_preference_makes_another_version(changed: dict[str, Any]) -> None:
    one, other = (SNAPSHOT.model_copy(update={"pairs": (pair,)}) for pair in (PAIR, PAIR.model_copy(update=changed)))
    assert one.version != other.version


@pytest.mark.parametrize("changed", [{"ids": ("f-4",)}, {"weight": 0.6}, {"output": "d"}, {"liked": True}])
def test_another_thumb_makes_another_version(changed: dict[str, Any]) -> None:
    one, other = (SNAPSHOT.model_copy(update={"thumbs": (it,)}) for it in (THUMB, THUMB.model_copy(update=changed)))
    assert one.version != other.version


def test_who_asked_makes_no_other_version() -> None:
    assert SNAPSHOT.model_copy(update={"request_id": "r-2"}).version == SNAPSHOT.version
    assert CHANGES.keys() | {"request_id"} == Snapshot.model_fields.keys()


@given(lessons, lessons)
def test_what_was_frozen_is_found_as_it_was(new: list[Lesson], replay: list[Lesson]) -> None:
    snapshot = SNAPSHOT.model_copy(update={"new": tuple(new), "replay": tuple(replay)})
    again = Snapshot.model_validate_json(snapshot.model_dump_json())
    assert (again, again.version, again.digest) == (snapshot, snapshot.version, snapshot.digest)


def test_a_crash_while_freezing_leaves_nothing_or_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_handle: int) -> None:
        raise OSError

    with monkeypatch.context() as power_cut:
        power_cut.setattr(os, "fsync", crash)
        with pytest.raises(OSError):  # noqa: PT011
            freeze(SNAPSHOT, tmp_path)
    assert frozen("r-1", tmp_path) is None
    freeze(SNAPSHOT, tmp_path)
    choice = frozen("r-1", tmp_path)
    assert choice is not None
    assert choice.filled({LESSON.id: LESSON.target}, {}, {}) == SNAPSHOT
    assert [path.name for path in tmp_path.iterdir()] == ["r-1.json"]


def test_no_word_of_a_user_is_in_what_is_frozen(tmp_path: Path) -> None:
    words = "zebrafish quartz"
    said = {
        "new": (LESSON.model_copy(update={"target": words}),),
        "pairs": (PAIR.model_copy(update={"chosen": words, "rejected": words}),),
        "thumbs": (THUMB.model_copy(update={"output": words}),),
    }
    freeze(SNAPSHOT.model_copy(update=said), tmp_path)
    assert b"zebrafish" not in (tmp_path / "r-1.json").read_bytes()


def test_an_opinion_is_filled_while_all_who_made_it_stand(tmp_path: Path) -> None:
    both = SNAPSHOT.model_copy(update={"new": (), "pairs": (PAIR,), "thumbs": (THUMB,)})
    freeze(both, tmp_path)
    choice = frozen("r-1", tmp_path)
    assert choice is not None
    said = {"f-1": ("a", "b"), "f-2": ("a", "b "), "f-3": ("c", "")}
    assert choice.filled({}, {}, said) == both
    for event in said:
        assert choice.filled({}, {}, {one: outputs for one, outputs in said.items() if one != event}) is None
    assert choice.filled({}, {}, said | {"f-3": ("d", "")}) is None


@pytest.mark.parametrize("targets", [{LESSON.id: "b"}, {LESSON.id: None}, {}])
def test_what_has_another_target_by_now_is_another_choice(tmp_path: Path, targets: dict[str, str | None]) -> None:
    freeze(SNAPSHOT, tmp_path)
    choice = frozen("r-1", tmp_path)
    assert choice is not None
    assert choice.filled(targets, {}, {}) is None


def test_the_desk_waits_for_the_recorder(tmp_path: Path) -> None:
    empty = Desk(open_database("sqlite://"), PolicyFile(), dict, tmp_path)
    with pytest.raises(NotYetError, match="database"):
        empty.prepare(ask(), ORIGIN)
    database = Database()
    card = added(database, SEEDS)
    with pytest.raises(NotYetError, match="request"):
        desk(database, tmp_path).prepare(card, ORIGIN)
    database.record(card)
    snapshot, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert sorted(texts.values()) == ["pay me back", "where is it"]
    assert snapshot.parent is None
    database.record(ask())
    with pytest.raises(NotYetError, match="champion"):
        desk(database, tmp_path, crowned("v0")).prepare(ask(), ORIGIN)
    empty.engine.dispose()


def test_what_came_later_does_not_change_what_was_frozen(tmp_path: Path) -> None:
    database = Database()
    card = added(database, SEEDS)
    database.record(card)
    before = desk(database, tmp_path).prepare(card, ORIGIN)
    database.record(*corrected("p", "my money", "b"))
    assert desk(database, tmp_path).prepare(card, ORIGIN) == before
    assert "my money" in desk(database, tmp_path / "elsewhere").prepare(card, ORIGIN)[1].values()


@pytest.mark.parametrize("event", [erased(BOB), reviewed("my money", "reject")])
def test_what_was_erased_or_withdrawn_is_not_learned_after_a_crash(tmp_path: Path, event: Any) -> None:
    database = Database()
    card = added(database, SEEDS)
    database.record(card, *corrected("p", "my money", "b", user=BOB), *corrected("q", "lost it", "a", user=ANN))
    before, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert example_id(MODEL, "my money") in texts
    database.record(event)
    with pytest.raises(NotYetError):
        desk(database, tmp_path).prepare(card, ORIGIN)
    after, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert after.ids == before.ids - {example_id(MODEL, "my money")}
    assert after.version != before.version


def test_the_same_lessons_do_not_make_a_version_twice(tmp_path: Path) -> None:
    database = Database()
    champion = crowned("v0")
    v0 = trained("v0", lessons=[text for text, _ in SEEDS], labels=["a", "b"])
    database.record(added(database, SEEDS), v0, champion)
    database.record(*corrected("p", "my money", "b"), ask("first"), ask("second"))
    first, _ = desk(database, tmp_path, champion).prepare(ask("first"), ORIGIN)
    assert {lesson.id for lesson in first.new} == {example_id(MODEL, "my money")}
    assert {lesson.id for lesson in first.replay} == {example_id(MODEL, text) for text, _ in SEEDS}
    database.record(trained(first.version, "v0").model_copy(update={"request_id": "first"}))
    with pytest.raises(NothingToLearnError, match=first.version):
        desk(database, tmp_path, champion).prepare(ask("second"), ORIGIN)
    assert desk(database, tmp_path, champion).prepare(ask("first"), ORIGIN)[0] == first


def test_a_task_that_cannot_be_learned_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "TASKS", {"classification": "…"})
    database = Database()
    card = added(database, SEEDS, task="generation")
    database.record(card)
    with pytest.raises(NothingToLearnError, match="learns classification, and the model's task is generation"):
        desk(database, tmp_path).prepare(card, ORIGIN)


def test_who_writes_text_learns_what_was_corrected_too_and_a_crash_finds_it_again(tmp_path: Path) -> None:
    database = Database()
    state = crowned("v0", when=1)
    database.record(added(database, SEEDS, task="generation"), trained("v0"), state)
    database.record(*corrected("p1", "cancel order 8", '{"do": "cancel"}', 20, output="I cannot do that."), ask())
    chosen, texts = desk(database, tmp_path, state).prepare(ask(), ORIGIN)
    mine = example_id(MODEL, "cancel order 8")
    [lesson] = [one for one in chosen.new if one.id == mine]
    assert (lesson.target, lesson.rejected, texts[mine]) == ('{"do": "cancel"}', "I cannot do that.", "cancel order 8")
    assert "cannot" not in (tmp_path / "r.json").read_text(), "outputs stay in SQL, where an erasure finds them"
    assert desk(database, tmp_path, state).prepare(ask(), ORIGIN)[0] == chosen


def talked(database: Database, folder: Path) -> Desk:
    """Two who prefer something, and one who likes nothing of it: v0 writes text, and serves."""
    state = crowned("v0", when=1)
    database.record(added(database, SEEDS, task="generation"), trained("v0"), state)
    better = (SAID_RIGHT, SAID_WRONG)
    database.record(served("p", "cancel order 8", SAID_WRONG, 20, user=ANN), said("p", better, 21, user=ANN))
    database.record(served("q", "Cancel order 8", SAID_WRONG, 22, user=BOB), said("q", better, 23, user=BOB))
    database.record(served("r", "where is it now", SAID_WRONG, 24, user=EVE), said("r", "down", 25, user=EVE))
    database.record(ask())
    return desk(database, folder, state)


def test_what_users_prefer_and_like_is_learned_with_the_next_increment(tmp_path: Path) -> None:
    database = Database()
    here = talked(database, tmp_path)
    chosen, texts = here.prepare(ask(), ORIGIN)
    [pair], [thumb] = chosen.pairs, chosen.thumbs
    assert (pair.ids, pair.chosen, pair.rejected) == (("f-q", "f-p"), SAID_RIGHT, SAID_WRONG)
    assert (thumb.ids, thumb.output, thumb.liked) == (("f-r",), SAID_WRONG, False)
    assert [texts[one.example_id] for one in chosen.opinions] == ["cancel order 8", "where is it now"]
    assert chosen.heard == ("f-q", "f-p", "f-r")
    frozen_words = (tmp_path / "r.json").read_text()
    assert SAID_RIGHT not in frozen_words
    assert SAID_WRONG not in frozen_words
    database.record(*said_more("later", DAN))
    assert here.prepare(ask(), ORIGIN)[0] == chosen, "a crash finds it as it was, whatever was said since"


def said_more(key: str, user: str) -> list[Event]:
    """The same preference once more."""
    better = (SAID_RIGHT, SAID_WRONG)
    return [served(key, "cancel order 8", SAID_WRONG, 30, user=user), said(key, better, 31, user=user)]


@pytest.mark.parametrize(("user", "left"), [(ANN, ("f-q", "f-r")), (BOB, ("f-p", "f-r")), (EVE, ("f-q", "f-p"))])
def test_an_opinion_of_who_is_erased_is_not_learned(tmp_path: Path, user: str, left: tuple[str, ...]) -> None:
    database = Database()
    here = talked(database, tmp_path)
    erasures = here.erasures()
    before, _ = here.prepare(ask(), ORIGIN)
    assert not here.forget(before, erasures)
    database.record(erased(user))
    with pytest.raises(NotYetError, match="gone"):
        here.prepare(ask(), ORIGIN)  # after a crash
    assert here.forget(before, erasures), "and while it trains"
    after, _ = here.prepare(ask(), ORIGIN)
    assert after.heard == left
    assert after.version != before.version


def test_opinions_are_no_matter_where_there_are_labels_or_where_they_weigh_nothing(tmp_path: Path) -> None:
    database = Database()
    here = talked(database, tmp_path)
    database.record(*corrected("s", "stop order 9", SAID_RIGHT, 30, user=DAN))
    deaf = PolicyFile(defaults=Policy(training=Training(preference=0, liking=0)))
    assert Desk(here.engine, deaf, here.states, tmp_path / "deaf").prepare(ask(), ORIGIN)[0].opinions == ()
    labelled = Database()
    state = crowned("v0", when=1)
    v0 = trained("v0", labels=["a", "b"])
    labelled.record(added(labelled, SEEDS), v0, state, *corrected("p", "my money", "b"), ask())
    labelled.record(served("q", "lost it", "a", 30, user=BOB), said("q", "down", 31, user=BOB))
    assert desk(labelled, tmp_path / "labels", state).prepare(ask(), ORIGIN)[0].opinions == ()
