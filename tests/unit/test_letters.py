"""A letter tells where a record came from and why it was refused, and never what a user wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import FeedbackReceived
from services.recorder import shelves
from services.recorder.batch import Batch, record
from shared import letters
from shared.envelope import Headers, Outgoing, seal, unseal
from shared.errors import InvalidEventError
from shared.letters import Original
from shared.tables import DeadLetter
from shared.topics import DEAD_LETTERS, FEEDBACK, QUARANTINE
from tests.unit.events import EXAMPLES, KEY, NOON
from tests.unit.recorder_story import ANN, BOB, Database, at, erased, said

FEEDBACK_RECEIVED = next(event for event in EXAMPLES if isinstance(event, FeedbackReceived))


def lying(value: bytes | None, headers: Headers | None = None, offset: int = 7) -> Original:
    """A record that lies on the feedback topic."""
    return Original("x.feedback.v1", 3, offset, int(NOON.timestamp() * 1000), b"p-1", value, headers or [])


def arrived(out: Outgoing, offset: int = 0) -> Original:
    """A letter as a reader of its topic gets it."""
    return Original(f"x.{out.topic.name}", 0, offset, int(NOON.timestamp() * 1000), out.key, out.value, out.headers)


def test_a_letter_can_be_read_and_sent_back_as_it_was() -> None:
    sealed = seal(FEEDBACK_RECEIVED)
    record = lying(sealed.value, sealed.headers)
    out = letters.write(record, "recorder", "crash_loop", "KeyError", attempts=3)
    assert (out.topic, out.key, out.value) == (DEAD_LETTERS, b"x.feedback.v1/3/7/recorder", sealed.value)
    letter = letters.read(arrived(out))
    assert letter.original == record
    assert (letter.id, letter.service, letter.reason, letter.error, letter.attempts) == (
        "x.feedback.v1/3/7/recorder",
        "recorder",
        "crash_loop",
        "KeyError",
        3,
    )
    assert (letter.event_id, letter.user_key, letter.said_at) == (FEEDBACK_RECEIVED.event_id, KEY, NOON)
    assert not letter.redriven
    again = letters.mark_redriven(arrived(out), DEAD_LETTERS)
    assert letters.read(arrived(again)) == replace(letter, redriven=True)


def test_the_user_is_found_in_bytes_that_are_no_event() -> None:
    torn = seal(FEEDBACK_RECEIVED).value or b""
    letter = letters.read(arrived(letters.write(lying(torn[:-3]), "recorder", "schema_error", "body: json_invalid")))
    assert (letter.event_id, letter.user_key, letter.said_at) == (FEEDBACK_RECEIVED.event_id, KEY, NOON)


@given(st.binary(max_size=300), st.lists(st.tuples(st.sampled_from(["ce_id", "ce_type", "words"]), st.binary())))
def test_no_bytes_break_a_letter_and_no_header_holds_a_text(value: bytes, headers: Headers) -> None:
    secret = b"swordfish"
    record = lying(value + secret, [*headers, ("words", secret), ("ce_type", secret * 100)])
    out = letters.write(record, "recorder", "schema_error", "body: json_invalid")
    assert secret not in b"".join(content for _, content in out.headers)
    assert letters.read(arrived(out)).original.value == value + secret


def test_a_record_too_long_for_a_letter_is_named_and_stays_where_it_is() -> None:
    out = letters.write(lying(b"x" * (letters.MOST_BYTES + 1)), "recorder", "schema_error", "")
    assert out.value == b""
    assert not letters.read(arrived(out)).whole


def refusal(value: bytes, headers: Headers | None = None) -> str:
    with pytest.raises(InvalidEventError) as refused:
        unseal(value, headers or [], FEEDBACK)
    return refused.value.code


def test_what_a_newer_version_says_waits_in_the_quarantine() -> None:
    body = json.loads(FEEDBACK_RECEIVED.model_dump_json())
    for version in (2, "2", "2.1", "v3"):
        assert refusal(json.dumps(body | {"schema_version": version}).encode()) == "unknown_version"
    value = json.dumps(body).encode()
    assert refusal(value, [("ce_dataschema", b"https://learnback/schemas/FeedbackReceived/v2")]) == "unknown_version"
    assert refusal(value, [("ce_type", b"FeedbackRetracted")]) == "unknown_version"
    assert refusal(value, [("ce_type", b"UserErased")]) == "unknown_type"
    assert letters.write(lying(value), "recorder", "unknown_version", "").topic is QUARANTINE


@pytest.mark.parametrize("more", [{"schema_version": 1}, {"schema_version": "1.9"}, {"mood": "good"}])
def test_what_a_newer_minor_version_adds_is_passed_over(more: dict[str, object]) -> None:
    body = json.loads(FEEDBACK_RECEIVED.model_dump_json()) | more
    assert unseal(json.dumps(body).encode(), [("ce_dataschema", b"feedback.v1.7")], FEEDBACK) == FEEDBACK_RECEIVED


def test_the_version_is_what_the_record_says_and_not_what_its_user_wrote() -> None:
    talk = FEEDBACK_RECEIVED.model_copy(update={"tags": {"plan": '"schema_version": 9'}})
    assert unseal(seal(talk).value, [], FEEDBACK) == talk


def noted(database: Database, *rows: DeadLetter | str) -> None:
    """Read letters, and ids that were taken back, from the topic."""
    with database.engine.connect() as connection:
        found = {one if isinstance(one, str) else one.id: None if isinstance(one, str) else one for one in rows}
        record(connection, Batch(letters=found), database.policies)
        connection.commit()


def letter_of(user: str, when: float, offset: int) -> DeadLetter:
    sealed = seal(said(f"p{offset}", "b", when, user=user))
    out = letters.write(lying(sealed.value, sealed.headers, offset), "recorder", "crash_loop", "")
    return shelves.row(letters.read(arrived(out)))


def test_the_newest_letter_of_a_record_holds_until_it_is_taken_back() -> None:
    database, letter = Database(), letter_of(ANN, 0, 1)
    noted(database, letter, letter_of(BOB, 0, 2))
    later = DeadLetter(**letter.model_dump() | {"redriven": True, "occurred_at": NOON + timedelta(seconds=9)})
    noted(database, later)
    assert {(row.offset, row.redriven) for row in database.rows(DeadLetter)} == {(1, True), (2, False)}
    noted(database, letter.id)
    assert [row.offset for row in database.rows(DeadLetter)] == [2]


def test_a_letter_with_an_erased_users_words_is_not_noted() -> None:
    database = Database()
    database.record(erased(ANN, when=100))
    noted(database, letter_of(ANN, 50, 1), letter_of(ANN, 150, 2), letter_of(BOB, 50, 3))
    assert {(row.user_key, row.said_at) for row in database.rows(DeadLetter)} == {(ANN, at(150)), (BOB, at(50))}


def test_code_that_was_copied_without_its_distribution_knows_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = letters._version()

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(letters, "version", missing)
    assert letters._version.__wrapped__() == installed
