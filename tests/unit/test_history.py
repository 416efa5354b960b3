"""What the evaluator remembers of its own decisions, read back from its topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as some

from schemas.events import Event, ModelStateChanged, VerdictReached
from services.evaluator.history import History
from shared.envelope import Headers, seal
from shared.topics import VERDICTS
from tests.unit.recorder_story import MODEL, crowned, judged, trained


@dataclass(frozen=True)
class Record:
    """A record as a consumer gives it."""

    topic: str
    value: bytes | None
    headers: Headers
    partition: int = 0


def record(event: Event) -> Record:
    sealed = seal(event)
    return Record(f"learnback.{sealed.topic.name}", sealed.value, sealed.headers)


def history(*events: Event) -> History:
    told = History()
    told.update(map(record, events))
    return told


def verdict(
    candidate: str, champion: str | None, alpha: float | None = None, name: str = "", look: int = 1
) -> VerdictReached:
    about = {"event_id": f"v-{candidate}{name}", "champion": champion, "alpha": alpha, "look": look}
    return judged(candidate).model_copy(update={**about, "outcome": "inconclusive"})


def test_the_last_state_of_a_model_names_its_champion() -> None:
    first, second = crowned("v0"), crowned("v1", "v0", when=80)
    other = crowned("w0").model_copy(update={"model": "other"})
    told = history(first, other, second)
    assert told.champions == {MODEL: second, "other": other}


def test_a_canary_is_no_champion() -> None:
    canary: ModelStateChanged = crowned("v1").model_copy(update={"alias": "canary"})
    assert history(crowned("v0"), canary).champions[MODEL].version == "v0"


def test_the_last_look_at_a_candidate_stands_and_each_test_is_counted() -> None:
    told = history(
        verdict("v1", "v0", alpha=0.01),
        verdict("v1", "v0", alpha=0.01, name="-later", look=2),
        verdict("v1", "v0", alpha=0.01, name="-again", look=2),
        verdict("v1", "v0", alpha=0.01),
    )
    assert told.verdicts["v1"].event_id == "v-v1-later"
    assert told.tested("v0") == 2


def test_the_newest_candidate_of_a_model_is_remembered_with_its_partition() -> None:
    other = trained("w1").model_copy(update={"model": "other"})
    told = history(trained("v1"), trained("v2", "v1"), other)
    assert {model: one.candidate.version for model, one in told.newest.items()} == {MODEL: "v2", "other": "w1"}


def test_the_first_verdict_on_a_candidate_stands() -> None:
    told = history(verdict("v1", "v0", alpha=0.01), verdict("v1", "v0", alpha=0.01, name="again"))
    assert told.verdicts["v1"].event_id == "v-v1"
    assert told.tested("v0") == 1


def test_only_superiority_tests_spend_the_budget_of_a_reign() -> None:
    told = history(
        verdict("v0", None),
        verdict("v1", "v0", alpha=0.01),
        verdict("v2", "v0"),  # too little evidence: nothing was tested
        verdict("v3", "v0", alpha=0.01),
        verdict("v4", "v3", alpha=0.01),
    )
    assert [told.tested(champion) for champion in ("v0", "v3", "v4")] == [2, 1, 0]


def test_what_is_no_event_is_passed_over() -> None:
    poison = [Record(f"t.{VERDICTS.name}", value, []) for value in (None, b"", b"not json", b"{}")]
    told = History()
    told.update([*poison, record(verdict("v1", "v0", alpha=0.01)), *poison])
    assert told.verdicts.keys() == {"v1"}


@given(
    some.lists(some.sampled_from([crowned("v0"), verdict("v1", "v0", 0.01), verdict("v2", "v0", 0.01), crowned("v2")])),
    some.integers(0, 9),
)
def test_it_does_not_matter_in_how_many_pieces_it_is_read(events: Sequence[Event], cut: int) -> None:
    told = History()
    told.update(map(record, events[:cut]))
    told.update(map(record, events[cut:]))
    assert told == history(*events)
    assert told.tested("v0") == len(told.verdicts)
