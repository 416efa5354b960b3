"""The events behind an increment: votes, reviews and first words on its examples, and nobody else's."""

from __future__ import annotations

from sqlmodel import Session

from services.trainer.origins import Origins, origins_of
from shared.text import example_id
from shared.trust import MOST_HEARD
from tests.unit.example_rows import correction, cost, database, example
from tests.unit.recorder_story import ANN, BOB, MODEL, Database, added, at, corrected, reviewed


def origins(here: Database, *texts: str) -> Origins:
    with Session(here.engine) as session:
        return origins_of(session, [example_id(MODEL, text) for text in texts])


def test_they_are_the_votes_the_reviews_and_the_request_with_the_first_examples() -> None:
    here = Database()
    card = added(here, [("seed one", "a"), ("seed two", "b")])
    ruling = reviewed("my words", "relabel", "b")
    here.record(card, *corrected("p1", "my words", "a", 1, user=ANN), *corrected("p2", "my words", "b", 3, user=BOB))
    here.record(ruling, *corrected("p3", "other words", "a", 5))
    assert origins(here, "my words") == Origins.of(["f-p1", "f-p2", ruling.event_id])
    assert origins(here, "seed one", "seed two") == Origins.of([card.request_id])
    assert origins(here, "seed one", "other words") == Origins.of([card.request_id, "f-p3"])
    assert origins(here) == Origins.of([])
    with Session(here.engine) as session:
        assert origins_of(session, [example_id(MODEL, "other words")], ["f-9"]) == Origins.of(["f-p3", "f-9"])


def test_another_event_is_another_digest_and_their_order_is_none() -> None:
    assert Origins.of(["b", "a", "b"]) == Origins.of(["a", "b"])
    assert Origins.of(["a"]).sha256 != Origins.of(["b"]).sha256
    assert Origins.of(["ab"]).sha256 != Origins.of(["a", "b"]).sha256


def test_an_input_of_which_everybody_spoke_costs_what_its_newest_votes_cost() -> None:
    spent, events = [], []
    for voices in (MOST_HEARD, 10 * MOST_HEARD):
        one = example(1, first_event="f 0")
        votes = [correction(one) for _ in range(voices)]
        for number, vote in enumerate(votes):
            vote.event_id, vote.counted, vote.occurred_at = f"f {number}", True, at(number)
            vote.further = number > 0
        with database([one, *votes]) as session:
            found: list[Origins] = []
            spent.append(cost(session, lambda: found.append(origins_of(session, [one.id]))).instructions)  # noqa: B023
            events.append(found[0].events)
    assert events == [MOST_HEARD, MOST_HEARD + 1], "the first word is always among them"
    assert spent[1] < 1.5 * spent[0]
