"""What the recorder cannot take: it is put aside with its reason, and everything else is recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, OperationalError

from schemas.events import PredictionServed, TrainingRequested
from services.recorder import facts, orphans
from services.recorder.attempts import MOST, Attempts
from services.recorder.digest import digest
from services.recorder.intake import MISPLACED
from services.recorder.records import parted
from shared.envelope import Outgoing, seal, unseal
from shared.errors import FatalError, UnavailableError
from shared.ids import namespaced
from shared.tables import Attempt, Consumed, DeadLetter, Erasure, FeedbackRow, LedgerRow, Prediction, Receipt, Taint
from shared.topics import FEEDBACK, PREDICTIONS, TRAINING_REQUESTS
from tests.unit.recorder_records import BUS, Tape, replayed
from tests.unit.recorder_story import ANN, BOB, DAN, at, corrected, crowned, erased, judged, said, served, trained

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_the_first_event_of_an_id_holds_and_the_other_is_kept_as_a_dead_letter(tape: Tape) -> None:
    first, other = said("p1", "b"), said("p1", "c")
    tape.say(served("p1", "hello"), first, other)  # within one batch
    tape.say(first, said("p1", "d"))  # and later
    assert [row.value for row in tape.database.rows(FeedbackRow)] == ["b"]
    told = [(letter.reason, letter.original.offset, letter.event_id) for letter in tape.letters]
    assert told == [("id_conflict", 1, first.event_id), ("id_conflict", 3, first.event_id)]
    assert tape.letters[0].original.value == seal(other).value


def test_a_second_content_that_the_log_holds_twice_is_one_dead_letter(tape: Tape) -> None:
    """The collector writes again what a broker did not acknowledge, and that one may have it after all."""
    other = said("p1", "c")
    tape.say(served("p1", "hello"), said("p1", "b"), other, other)
    tape.say(other)
    tape.read_back()
    [row] = tape.database.rows(DeadLetter)
    assert (row.reason, row.event_id) == ("id_conflict", other.event_id)
    tape.say(said("p1", "d"))
    tape.read_back()
    assert len(tape.database.rows(DeadLetter)) == 2


def test_a_prediction_under_a_taken_prediction_id_is_kept_as_a_dead_letter(tape: Tape) -> None:
    first = served("p1", "hello")
    tape.say(first)
    tape.say(first.model_copy(update={"event_id": "other"}))
    assert [letter.reason for letter in tape.letters] == ["prediction_id_taken"]
    assert len(tape.database.rows(Prediction)) == 1


def failing_on(event_id: str, error: Callable[[], Exception], times: int = 10**9) -> Any:
    """Storing that fails whenever a certain event is in the batch."""
    store = facts.store
    left = [times]

    def storing(connection: Connection, events: Any, **more: Any) -> Any:
        if any(event.event_id == event_id for event in events) and left[0]:
            left[0] -= 1
            raise error()
        return store(connection, events, **more)

    return storing


def test_the_one_record_that_a_batch_fails_of_is_put_aside(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    log = [served(f"p{number}", f"text {number}") for number in range(20)]
    monkeypatch.setattr(facts, "store", failing_on(log[13].event_id, KeyError))
    tape.say(*log)
    assert {row.prediction_id for row in tape.database.rows(Prediction)} == {f"p{n}" for n in range(20) if n != 13}
    [letter] = tape.letters
    assert (letter.reason, letter.error, letter.attempts, letter.original.offset) == ("crash_loop", "KeyError", 3, 13)
    assert tape.recording.places == {(BUS.name(PREDICTIONS), 0): 20}


def test_a_value_that_the_database_refuses_is_the_records_fault(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = failing_on("e-p1", lambda: DataError("INSERT", {}, ValueError("NUL")))
    monkeypatch.setattr(facts, "store", refused)
    tape.say(served("p0", "a"), served("p1", "b"))
    assert [letter.error for letter in tape.letters] == ["DataError"]


def test_a_database_that_is_away_is_waited_for_and_nothing_is_skipped(
    tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = failing_on("e-p1", lambda: OperationalError("BEGIN", {}, Exception("locked")), times=5)
    monkeypatch.setattr(facts, "store", locked)
    record = tape.add(seal(served("p1", "b")))
    for _ in range(5):
        with pytest.raises(OperationalError):
            tape.take([record])
    tape.take([record])
    assert tape.letters == []
    assert len(tape.database.rows(Prediction)) == 1


def test_a_failure_that_spares_no_record_stops_the_recorder(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    store = facts.store

    def broken(connection: Connection, events: Any, **more: Any) -> Any:
        if any(isinstance(event, PredictionServed) for event in events):
            raise KeyError
        return store(connection, events, **more)

    monkeypatch.setattr(facts, "store", broken)
    with pytest.raises(FatalError, match="in a row"):
        tape.say(*[served(f"p{number}", "text") for number in range(40)])
    assert len(tape.letters) < 25


def died_at(tape: Tape, offset: int, killer: int) -> int | None:
    """A recorder starts at an offset and dies when it comes to the killer; where SQL stands then (None: it lived)."""
    attempts = Attempts(tape.database.engine, batch_size=8)
    log = tape.records
    while offset < len(log):
        polled = parted(log[offset : offset + 8])
        if not attempts.begin(polled):
            if offset <= killer < offset + 8:
                return offset
            offset += 8
            attempts.past(polled)
            continue
        for one in log[offset : offset + 8]:
            if attempts.tried(one) >= MOST:
                tape.recording.put_aside(one, MOST, "died")
            elif one.offset == killer:
                return one.offset
            offset = one.offset + 1
        attempts.past(polled)
    return None


@pytest.mark.parametrize("killer", [0, 5, 11])
def test_a_record_that_kills_the_recorder_three_times_is_put_aside(tape: Tape, killer: int) -> None:
    for number in range(24):
        tape.add(seal(served(f"p{number}", "text")))
    starts, place = 1, died_at(tape, 0, killer)
    while place is not None:
        starts, place = starts + 1, died_at(tape, place, killer)
    assert [(letter.reason, letter.original.offset) for letter in tape.letters] == [("crash_loop", killer)]
    assert starts <= MOST + 2


def test_a_stop_is_no_crash(tape: Tape) -> None:
    record = tape.add(seal(served("p1", "text")))
    for _ in range(10):
        attempts = Attempts(tape.database.engine, batch_size=8)
        assert not attempts.begin(parted([record]))
        attempts.forgive()
    assert tape.database.rows(Attempt) == []


def orphaned(tape: Tape, hours: float, patience: float = 24) -> list[Outgoing]:
    with tape.database.engine.connect() as connection:
        return orphans.overdue(connection, BUS, at(hours * 3600), timedelta(hours=patience))


def test_feedback_without_a_prediction_waits_and_is_then_put_aside(tape: Tape) -> None:
    alone, late = said("p1", "b", when=0), said("p2", "b", when=0)
    tape.say(alone, late)
    assert orphaned(tape, hours=23) == []
    tape.say(served("p2", "hello", when=3600 * 23))
    [out] = orphaned(tape, hours=25)
    assert unseal(out.value, out.headers, FEEDBACK) == alone
    tape.shelf.send(out)
    tape.read_back()
    assert [(row.reason, row.event_id) for row in tape.database.rows(DeadLetter)] == [("orphan", alone.event_id)]
    assert [row.event_id for row in tape.database.rows(FeedbackRow)] == [late.event_id]
    tape.say(served("p1", "late"), alone)  # too late: the letter holds
    assert [row.event_id for row in tape.database.rows(FeedbackRow)] == [late.event_id]


def test_a_replay_comes_to_the_same_orphans_in_any_order(tape: Tape) -> None:
    tape.say(*corrected("p0", "hi", "b"), said("p1", "b", when=0), served("p9", "x", when=90_000))
    [out] = orphaned(tape, hours=25)
    tape.shelf.send(out)
    tape.read_back()
    tape.say(served("p1", "hello", when=95_000))
    for order in (tape.records, tape.records[::-1]):
        assert digest(replayed(tape, order).database.engine) == digest(tape.database.engine)


def test_an_erasure_leaves_a_receipt_and_takes_dead_letters_back(tape: Tape) -> None:
    tape.say(*corrected("p1", "my own words", "b", user=ANN), *corrected("p2", "other words", "b", user=BOB))
    tape.say(said("p1", "c", user=ANN), said("p2", "c", user=BOB))  # taken ids: two dead letters
    tape.read_back()
    [anns] = [row.id for row in tape.database.rows(DeadLetter) if row.user_key == ANN]
    tape.say(erased(ANN))
    [receipt] = tape.database.rows(Receipt)
    counts = (receipt.predictions, receipt.feedback, receipt.examples, receipt.dead_letters)
    assert (receipt.user_key, *counts) == (ANN, 1, 1, 1, 1)
    assert [row.user_key for row in tape.database.rows(Erasure)] == [ANN]
    assert [row.user_key for row in tape.database.rows(DeadLetter)] == [BOB]
    [gone] = [out for out in tape.shelf.sent if out.value is None]
    assert gone.key == anns.encode()
    tape.read_back()
    assert digest(replayed(tape).database.engine) == digest(tape.database.engine)


def lineage(tape: Tape) -> None:
    """v0 ← v1 ← v2: v1 learned from Ann, v2 serves."""
    tape.say(*corrected("p1", "anns words", "b", user=ANN), *corrected("p2", "bobs words", "b", user=BOB))
    tape.say(trained("v0", None, ["seed"], when=50), judged("v0"), crowned("v0", None, 60))
    tape.say(trained("v1", "v0", ["anns words"], when=70), judged("v1", when=71), crowned("v1", "v0", 72))
    tape.say(trained("v2", "v1", ["bobs words"], when=80), judged("v2", when=81), crowned("v2", "v1", 82))


def rebuilds(tape: Tape) -> list[TrainingRequested]:
    out = [one for one in tape.shelf.sent if one.topic is TRAINING_REQUESTS]
    events = [unseal(one.value, one.headers, TRAINING_REQUESTS) for one in out]
    return [event for event in events if isinstance(event, TrainingRequested)]


def test_versions_that_learned_from_an_erased_user_are_marked_and_a_rebuild_is_asked_for(tape: Tape) -> None:
    lineage(tape)
    tape.say(erased(ANN))
    [request] = rebuilds(tape)
    assert (request.parent, request.tainted, request.requested_by) == ("v0", ("v1", "v2"), "erasure")
    tape.say(request)
    assert {row.version for row in tape.database.rows(Taint)} == {"v1", "v2"}
    tape.say(erased(ANN, when=300))  # nothing is left to be forgotten
    assert len(rebuilds(tape)) == 1
    assert digest(replayed(tape).database.engine) == digest(tape.database.engine)


def test_who_only_preferred_something_is_in_the_version_that_heard_it(tape: Tape) -> None:
    lineage(tape)
    tape.say(served("p9", "which", user=DAN), said("p9", ("b", "a"), user=DAN))
    tape.say(trained("v3", "v2", when=90).model_copy(update={"lessons": ("f-p9",)}))
    tape.say(judged("v3", when=91), crowned("v3", "v2", 92), erased(DAN))
    [request] = rebuilds(tape)
    assert (request.parent, request.tainted) == ("v2", ("v3",))


def test_a_crash_before_the_commit_asks_for_the_same_rebuild(tape: Tape) -> None:
    lineage(tape)
    record = tape.add(seal(erased(ANN)))
    batch = tape.recording.intake.take(parted([record]))
    from services.recorder.batch import record as write_batch

    with tape.database.engine.connect() as connection:
        made = write_batch(connection, batch, tape.database.policies)
        connection.rollback()
    tape.take([record])
    assert [seal(one) for one in rebuilds(tape)] == [one for one in made.out if one.topic is TRAINING_REQUESTS]


def test_no_rebuild_for_a_user_from_whom_nothing_was_learned(tape: Tape) -> None:
    lineage(tape)
    tape.say(*corrected("p3", "unlearned", "b", user="c" * 32), erased("c" * 32))
    assert rebuilds(tape) == []


def test_an_event_under_another_apps_namespace_waits_for_a_person(tape: Tape) -> None:
    mine = said("p1", "b").model_copy(update={"event_id": namespaced("shop", "mine")})
    forged = said("p1", "b").model_copy(update={"event_id": namespaced("bank", "theirs")})
    tape.say(served("p1", "hello"), mine, forged)
    assert [row.event_id for row in tape.database.rows(FeedbackRow)] == [mine.event_id]
    [letter] = tape.letters
    assert (letter.reason, letter.event_id) == ("forged_app", forged.event_id)
    tape.read_back()
    assert [row.quarantined for row in tape.database.rows(DeadLetter)] == [True]


def test_a_record_under_a_strange_key_is_recorded_and_counted(tape: Tape) -> None:
    before = MISPLACED.labels(BUS.name(PREDICTIONS))._value.get()
    record = tape.add(seal(served("p1", "hello")))
    tape.take([record._replace(key=None)])
    assert len(tape.database.rows(Prediction)) == 1
    assert MISPLACED.labels(BUS.name(PREDICTIONS))._value.get() == before + 1


def test_a_recorder_that_slept_while_another_recorded_writes_nothing(tape: Tape) -> None:
    tape.say(served("p1", "hello"), said("p1", "b"))
    before = digest(tape.database.engine), tape.database.rows(Consumed)
    with pytest.raises(UnavailableError, match="by another recorder"):
        tape.take(tape.records)  # as it lies in the sleeper's hands
    assert (digest(tape.database.engine), tape.database.rows(Consumed)) == before


def test_what_an_erasure_emptied_in_a_spool_is_accounted_for_as_erased(tape: Tape) -> None:
    spooled = seal(said("p1", "b"), instance="i1")._replace(value=None)
    tape.take([tape.add(spooled)])
    [row] = tape.database.rows(LedgerRow)
    assert (row.arrived, row.erased, row.missing) == (1, 1, 0)
    assert tape.letters == []
