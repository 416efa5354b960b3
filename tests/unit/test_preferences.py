"""What is learned beside right outputs, as the recorder has it: edited ≻ original, preferred, liked or not."""

from __future__ import annotations

import pytest
from sqlmodel import Session

from schemas.events import Event
from services.trainer import hearing
from services.trainer.hearing import inputs_of, judged
from services.trainer.preferences import corrected, pairs, thumbs
from services.trainer.snapshot import Pair, Thumb
from shared.policy import Policy, Training, Trust
from shared.tables import words
from shared.text import example_id
from tests.unit.example_rows import cost
from tests.unit.recorder_story import (
    ANN,
    BOB,
    DAN,
    EVE,
    MODEL,
    Database,
    Value,
    added,
    crowned,
    erased,
    policy,
    reviewed,
    said,
    served,
    trained,
)
from tests.unit.recorder_story import corrected as correction

pytestmark = pytest.mark.usefixtures("everywhere")

SERVED, RIGHT = '{"intent": "track"}', '{"intent": "cancel"}'
EVERYBODY = Policy(trust=Trust(user_share=1.0))
THUMBS: list[Value] = ["up", "down", 5, 1]


@pytest.fixture
def database(everywhere: None) -> Database:
    made = Database()
    made.record(added(made, [("first", SERVED)], [("golden", RIGHT)], task="generation"))
    return made


def asked(
    key: str, text: str, *values: Value, when: float = 0, user: str | None = ANN, solicit: bool = False
) -> list[Event]:
    """A prediction of SERVED and what a user says of it, a second apart."""
    answer = served(key, text, SERVED, when, user=user, solicit=solicit, score=None)
    said_ = [said(key, value, when + 1 + n, user=user, name=f"-{n}") for n, value in enumerate(values)]
    return [answer, *said_]


def edited(database: Database, *texts: str) -> dict[str, str]:
    ids = {example_id(MODEL, text): text for text in texts}
    with Session(database.engine) as session:
        return {ids[example]: output for example, output in corrected(session, ids).items()}


def input_of(session: Session, one: Pair | Thumb) -> str:
    return inputs_of(session, [one.example_id])[one.example_id]


def preferred(database: Database, line: tuple[str, ...] = ()) -> list[tuple[str, str, str, float]]:
    with Session(database.engine) as session:
        found = pairs(session, MODEL, EVERYBODY, line)
        return [(input_of(session, one), one.chosen, one.rejected, round(one.weight, 4)) for one in found]


def liked(database: Database, line: tuple[str, ...] = ()) -> list[tuple[str, str, bool, float]]:
    with Session(database.engine) as session:
        found = thumbs(session, MODEL, EVERYBODY, line)
        return [(input_of(session, one), one.output, one.liked, round(one.weight, 4)) for one in found]


def test_the_output_that_a_user_corrected_is_the_worse_one(database: Database) -> None:
    database.record(*asked("p", "stop it", RIGHT), *asked("q", "go on", SERVED), *asked("r", "and now", "down"))
    assert edited(database, "stop it", "go on", "and now", "first", "never said") == {"stop it": SERVED}


def test_of_several_corrected_outputs_the_newest_counts(database: Database) -> None:
    other = '{"intent": "refund"}'
    database.record(
        *asked("p", "stop it", RIGHT),
        *asked("s", "stop it", RIGHT, when=2, user=DAN),
        served("q", "stop it", other, 5, user=BOB),
        said("q", RIGHT, 6, user=BOB),
        served("r", "stop it", RIGHT, 8, user=EVE),
        said("r", "nonsense", 9, user=EVE),  # outvoted: what it corrected is right
    )
    assert edited(database, "stop it") == {"stop it": other}


def test_an_original_that_turned_out_right_is_not_the_worse_one(database: Database) -> None:
    database.record(*asked("p", "stop it", RIGHT), reviewed("stop it", "relabel", SERVED.replace(" ", "")))
    assert edited(database, "stop it") == {}


def test_what_is_evidence_or_doubtful_is_not_compared(database: Database) -> None:
    database.record(
        *asked("p", "stop it", RIGHT, solicit=True),
        *asked("q", "go on", RIGHT, when=5),
        reviewed("go on", "reject"),
    )
    assert edited(database, "stop it", "go on") == {}


def test_a_greeting_corrected_long_ago_is_not_searched_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MOST_HEARD", 3)
    database.record(*asked("p", "hi", RIGHT), reviewed("hi", "relabel", RIGHT))
    database.record(*[one for n in range(2) for one in asked(f"u{n}", "hi", "up", when=5 + n, user=f"{n:032x}")])
    assert edited(database, "hi") == {"hi": SERVED}
    database.record(*asked("last", "hi", "up", when=9, user=DAN))
    assert edited(database, "hi") == {}


def test_a_preference_is_a_pair_and_voices_add_up(database: Database) -> None:
    database.record(*asked("p", "stop it", (RIGHT, SERVED)))
    assert preferred(database) == [("stop it", RIGHT, SERVED, 0.5)]
    other_spelling = (RIGHT.replace(" ", ""), SERVED)
    database.record(*asked("q", "stop it", other_spelling, when=5, user=BOB))
    assert preferred(database) == [("stop it", *other_spelling, 0.75)]


def test_a_preference_that_is_disputed_or_says_nothing_is_left_out(database: Database) -> None:
    database.record(*asked("p", "stop it", (RIGHT, SERVED)), *asked("q", "stop it", (SERVED, RIGHT), when=5, user=BOB))
    database.record(*asked("r", "go on", (SERVED, SERVED.replace(" ", ""))))
    assert preferred(database) == []
    database.record(said("p", (SERVED, RIGHT), 9, name="-again"))  # Ann changed her mind
    assert preferred(database) == [("stop it", SERVED, RIGHT, 0.75)]


def test_a_preference_against_what_is_known_to_be_right_is_left_out(database: Database) -> None:
    database.record(*asked("p", "stop it", (SERVED, RIGHT)), *asked("q", "stop it", RIGHT, when=5, user=BOB))
    assert preferred(database) == []


@pytest.mark.parametrize("value", THUMBS)
def test_a_thumb_or_stars_say_whether_an_output_is_liked(database: Database, value: Value) -> None:
    database.record(*asked("p", "stop it", value))
    assert liked(database) == [("stop it", SERVED, value in ("up", 5), 0.25)]


def test_thumbs_add_up_until_somebody_disagrees(database: Database) -> None:
    database.record(*asked("p", "stop it", "down"), *asked("q", "stop it", 1, when=5, user=BOB))
    assert liked(database) == [("stop it", SERVED, False, round(1 - 0.75**2, 4))]
    database.record(*asked("r", "stop it", "up", when=9, user=EVE))
    assert liked(database) == []


def test_a_thumb_against_what_is_known_to_be_right_is_left_out(database: Database) -> None:
    database.record(*asked("p", "stop it", "down"), *asked("q", "stop it", SERVED, when=5, user=BOB))
    database.record(*asked("r", "go on", "up"), *asked("s", "go on", RIGHT, when=5, user=BOB))
    assert liked(database) == []
    database.record(*asked("t", "and now", "down", RIGHT))
    assert liked(database) == [("and now", SERVED, False, 0.25)]


def said_of(key: str, text: str, solicit: bool = False) -> list[Event]:
    return asked(key, text, (RIGHT, SERVED), "down", solicit=solicit)


def both(database: Database) -> tuple[set[str], set[str]]:
    """The inputs of all pairs and of all thumbs."""
    return {one[0] for one in preferred(database)}, {one[0] for one in liked(database)}


def test_nothing_is_learned_of_what_is_there_to_judge(database: Database) -> None:
    database.record(*said_of("p", "stop it", solicit=True), *said_of("q", "Golden!"), *said_of("r", "go on"))
    assert both(database) == ({"go on"}, {"go on"})
    database.record(*correction("s", "Stop it!", RIGHT, 5), *said_of("t", "it. stop"))
    assert both(database) == ({"go on"}, {"go on"})  # near-duplicates of what a solicited answer spoke of first


def test_nothing_is_learned_of_what_is_in_quarantine(database: Database) -> None:
    database.record(*said_of("p", "stop it"), *correction("q", "stop it", RIGHT, 5), reviewed("stop it", "reject"))
    assert both(database) == (set(), set())


def test_an_erased_users_words_are_gone(database: Database) -> None:
    database.record(*said_of("p", "stop it"), *asked("q", "go on", (RIGHT, SERVED), "down", user=BOB), erased(ANN))
    assert both(database) == ({"go on"}, {"go on"})


def test_nameless_voices_need_a_second_one(database: Database) -> None:
    database.record(*asked("p", "stop it", (RIGHT, SERVED), "down", user=None))
    assert both(database) == (set(), set())
    database.record(*asked("q", "stop it", (RIGHT, SERVED), "down", user=None, when=9))
    assert both(database) == ({"stop it"}, {"stop it"})


def test_who_was_wrong_before_weighs_less(database: Database) -> None:
    database.record(*correction("p", "known", "nonsense", user=EVE))
    database.record(*correction("q", "known", RIGHT, 3, user=BOB, solicit=True))
    database.record(*asked("r", "stop it", (RIGHT, SERVED), when=5, user=EVE))
    assert preferred(database) == [("stop it", RIGHT, SERVED, round(1 / 3, 4))]


def test_nobody_gives_more_than_a_share() -> None:
    database = Database(policy(user_cap=100))
    for number in range(30):
        database.record(*asked(f"p{number}", f"text {number}", (RIGHT, SERVED), "down", when=number))
    few = EVERYBODY.model_copy(update={"training": Training(max_new=10)})
    with Session(database.engine) as session:
        found = pairs(session, MODEL, Policy(), ())
        assert [input_of(session, one) for one in found] == ["text 29", "text 28", "text 27"]
        assert len(thumbs(session, MODEL, Policy(), ())) == 3
        assert len(pairs(session, MODEL, few, ())) == 10
        learned = [event for one in found for event in one.ids]
    database.record(trained("v1", None).model_copy(update={"lessons": tuple(learned)}), crowned("v1"))
    with Session(database.engine) as session:
        after = pairs(session, MODEL, Policy(), ("v1",))
        assert [input_of(session, one) for one in after] == ["text 26", "text 25", "text 24"]


def learned_from(*events: str) -> list[Event]:
    return [trained("v1", None).model_copy(update={"lessons": events}), crowned("v1")]


def test_what_the_line_has_learned_is_not_learned_again_until_a_rollback(database: Database) -> None:
    database.record(*said_of("p", "stop it"), *said_of("q", "go on"))
    database.record(*learned_from("f-p-0", "f-p-1"))
    assert both(database) == ({"stop it", "go on"}, {"stop it", "go on"})
    assert [one[0] for one in preferred(database, line=("v0", "v1"))] == ["go on"]
    assert [one[0] for one in liked(database, line=("v0", "v1"))] == ["go on"]
    assert [one[0] for one in preferred(database, line=("v0",))] == ["go on", "stop it"]


def test_who_disagrees_with_what_was_learned_is_held_against_all_who_said_it(database: Database) -> None:
    for number, user in enumerate((ANN, BOB, DAN)):
        database.record(*asked(f"p{number}", "stop it", (RIGHT, SERVED), when=number, user=user))
    database.record(*learned_from("f-p0-0", "f-p1-0", "f-p2-0"))
    database.record(*asked("q", "stop it", (SERVED, RIGHT), when=9, user=EVE))
    assert preferred(database, line=("v1",)) == [("stop it", RIGHT, SERVED, round(0.875 * 0.75, 4))]
    database.record(said("q", (RIGHT, SERVED), 12, user=EVE, name="-again"))
    with Session(database.engine) as session:
        [pair] = pairs(session, MODEL, EVERYBODY, ("v1",))
    assert pair.ids == ("f-q-again", "f-p0-0", "f-p1-0", "f-p2-0", "f-q-0"), "all that was said, the newest first"


def test_what_somebody_took_back_is_never_learned_later(database: Database) -> None:
    database.record(*asked("p", "stop it", (SERVED, RIGHT)), said("p", (RIGHT, SERVED), 9, name="-again"))
    database.record(*learned_from("f-p-again"))
    assert preferred(database, line=("v1",)) == []


def test_the_outputs_are_found_again_while_all_that_was_said_stands(database: Database) -> None:
    database.record(*said_of("p", "stop it"), *asked("q", "go on", (RIGHT, SERVED), user=BOB))
    ids = ["f-p-0", "f-p-1", "f-q-0"]
    with Session(database.engine) as session:
        assert judged(session, [*ids, "never said"]) == {
            "f-p-0": (RIGHT, SERVED),
            "f-p-1": (SERVED, ""),
            "f-q-0": (RIGHT, SERVED),
        }
    database.record(erased(BOB), reviewed("stop it", "reject"))
    with Session(database.engine) as session:
        assert judged(session, ids) == {}


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
def test_a_longer_log_costs_no_more(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "MOST_EXAMINED", 50)
    monkeypatch.setattr(words, "MOST_HEARD", 10)
    twenty = EVERYBODY.model_copy(update={"training": Training(max_new=20)})
    spent = []
    for length in (100, 1000):
        database = Database(policy(burst_inputs=10_000))
        events = [one for n in range(length) for one in asked(f"p{n}", "hi", "up", when=n, user=f"{n:032x}")]
        database.record(*events, *asked("c", "hi", RIGHT, when=length), reviewed("hi", "relabel", RIGHT))
        with Session(database.engine) as session:

            def read(session: Session = session) -> None:
                pairs(session, MODEL, twenty, ())
                thumbs(session, MODEL, twenty, ())
                corrected(session, [example_id(MODEL, "hi")])

            spent.append(cost(session, read))
    assert len(spent[1].statements) == len(spent[0].statements) <= 5
    assert spent[1].instructions < 1.5 * spent[0].instructions
