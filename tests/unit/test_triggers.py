"""Triggers: when an increment is asked for, and that it is asked for once."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.events import CandidateTrained, TrainingProgressed, VerdictReached
from services.aggregator import triggers
from services.aggregator.slices import Counts, Rise
from services.aggregator.triggers import TIMEOUT_S, Loop, decide
from shared.policy import Trigger
from tests.unit.aggregator_facts import MODEL, NOON, RIGHT, WRONG, crowned, judged, reigning
from tests.unit.events import NOON as MOMENT

POLICY = Trigger(min_examples=64, every_seconds=600, every_min_examples=16)
RISE = Rise("label=refund", Counts(100, 10), Counts(40, 18), 1e-5)
ABOUT: dict[str, Any] = {"event_id": "e1", "occurred_at": MOMENT, "source": "test", "model": MODEL}


def asked(loop: Loop) -> str | None:
    return loop.asked.trigger if loop.asked else None


def progressed(loop: Loop, state: Any) -> TrainingProgressed:
    assert loop.asked
    return TrainingProgressed(**ABOUT, request_id=loop.asked.request_id, state=state)


def candidate(loop: Loop, version: str) -> CandidateTrained:
    assert loop.asked
    return CandidateTrained(
        **ABOUT,
        request_id=loop.asked.request_id,
        task="classification",
        base="some/base",
        version=version,
        trigger="examples",
        requested_by="aggregator",
        manifest_sha256="0" * 64,
    )


def verdict(version: str) -> VerdictReached:
    return VerdictReached(**ABOUT, candidate=version, outcome="reject", reason="no better")


def test_enough_examples_are_a_reason() -> None:
    assert asked(decide(reigning(63), NOON, POLICY, [])) is None
    assert asked(decide(reigning(64), NOON, POLICY, [])) == "examples"


def test_the_clock_asks_with_fewer() -> None:
    assert asked(decide(reigning(16), NOON + 599, POLICY, [])) is None
    assert asked(decide(reigning(15), NOON + 600, POLICY, [])) is None
    assert asked(decide(reigning(16), NOON + 600, POLICY, [])) == "schedule"


def test_a_failing_slice_or_drift_asks_with_fewer() -> None:
    assert asked(decide(reigning(15), NOON, POLICY, [RISE])) is None
    assert asked(decide(reigning(16), NOON, POLICY, [RISE])) == "slice"
    assert asked(decide(reigning(64).model_copy(update={"drifted": True}), NOON, POLICY, [])) == "drift"
    drifted = reigning(16).model_copy(update={"drifted": True})
    decided = decide(drifted, NOON, POLICY, [])
    assert asked(decided) == "drift"
    assert not decided.drifted


def test_a_model_without_champion_asks_for_nothing() -> None:
    loop = Loop(partition=0, model=MODEL)
    for offset in range(100):
        loop = triggers.on_usable(loop, judged(offset))
    assert asked(decide(loop, NOON, POLICY, [RISE])) is None
    assert asked(decide(triggers.on_crowned(loop, crowned(), NOON), NOON, POLICY, [])) == "examples"


def test_only_what_teaches_counts_and_once_per_prediction() -> None:
    loop = reigning()
    for offset, fact in enumerate(
        [
            judged(now=WRONG),  # no target
            judged(now=RIGHT),
            judged(was=RIGHT),  # the same prediction again
            judged(was=WRONG),  # now with a target
            judged(solicited=True),  # evidence, not a lesson
        ]
    ):
        loop = triggers.on_usable(loop, fact.model_copy(update={"offset": offset}))
    assert loop.usable == 2


def test_the_verdict_on_the_candidate_ends_the_request_in_any_order() -> None:
    out = decide(reigning(64), NOON, POLICY, [])
    usual = triggers.on_verdict(triggers.on_candidate(out, candidate(out, "v1"), NOON), verdict("v1"))
    other = triggers.on_candidate(triggers.on_verdict(out, verdict("v1")), candidate(out, "v1"), NOON)
    for loop in (usual, other):
        assert loop.asked is None
        assert loop.waiting == 0
    stranger = triggers.on_verdict(triggers.on_candidate(out, candidate(out, "v1"), NOON), verdict("v9"))
    assert stranger.asked is not None


def test_a_failed_request_gives_its_examples_back_and_is_not_asked_again_at_once() -> None:
    out = decide(reigning(64), NOON, POLICY, [])
    failed = triggers.on_progress(out, progressed(out, "failed"), NOON + 10, POLICY)
    assert failed.waiting == 64
    assert asked(decide(failed, NOON + 11, POLICY, [RISE])) is None
    assert asked(decide(failed, NOON + 610, POLICY, [])) == "examples"
    more = failed
    for offset in range(64, 80):
        more = triggers.on_usable(more, judged(offset))
    again = decide(more, NOON + 11, POLICY, [])
    assert asked(again) == "examples"
    assert again.asked
    assert out.asked
    assert again.asked.request_id != out.asked.request_id


def test_silence_ends_a_request_and_progress_is_a_sign_of_life() -> None:
    out = decide(reigning(64), NOON, POLICY, [])
    assert not triggers.is_silent(out, NOON + TIMEOUT_S - 1)
    assert triggers.is_silent(out, NOON + TIMEOUT_S)
    working = triggers.on_progress(out, progressed(out, "running"), NOON + TIMEOUT_S - 1, POLICY)
    assert not triggers.is_silent(working, NOON + TIMEOUT_S)


def test_the_same_state_asks_with_the_same_id() -> None:
    first, second = (decide(reigning(64), NOON + later, POLICY, []) for later in (0, 5))
    assert first.asked
    assert second.asked
    assert first.asked.request_id == second.asked.request_id


def test_an_old_champion_told_again_is_not_news() -> None:
    loop = triggers.on_crowned(reigning(), crowned("v1", NOON + 10), NOON + 10)
    assert triggers.on_crowned(loop, crowned("v0", NOON), NOON + 20) == loop


class OneLoop(RuleBasedStateMachine):
    """Whatever happens in whatever order: one request at a time, and every usable example is taken exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.now, self.offset = reigning(), NOON, 0
        self.ids: list[str] = []
        self.taken: dict[str, int] = {}

    @rule(count=st.integers(1, 40))
    def learn(self, count: int) -> None:
        for _ in range(count):
            self.loop = triggers.on_usable(self.loop, judged(self.offset))
            self.offset += 1

    @rule(seconds=st.floats(1, 1000), rises=st.booleans())
    def look(self, seconds: float, rises: bool) -> None:
        self.now += seconds
        before = self.loop
        self.loop = decide(before, self.now, POLICY, [RISE] if rises else [])
        if self.loop != before:
            assert before.asked is None
            assert self.loop.asked
            self.ids.append(self.loop.asked.request_id)
            self.taken[self.ids[-1]] = before.waiting

    @precondition(lambda self: self.loop.asked is not None)
    @rule(state=st.sampled_from(["started", "skipped", "failed"]))
    def progress(self, state: str) -> None:
        self.loop = triggers.on_progress(self.loop, progressed(self.loop, state), self.now, POLICY)
        if self.loop.asked is None:
            self.taken.pop(self.ids[-1])

    @precondition(lambda self: self.loop.asked is not None)
    @rule(first=st.booleans())
    def train(self, first: bool) -> None:
        version, trained = f"v{len(self.ids)}", candidate(self.loop, f"v{len(self.ids)}")
        if first:
            self.loop = triggers.on_verdict(self.loop, verdict(version))
            self.loop = triggers.on_candidate(self.loop, trained, self.now)
        else:
            self.loop = triggers.on_candidate(self.loop, trained, self.now)
            self.loop = triggers.on_verdict(self.loop, verdict(version))
        assert self.loop.asked is None

    @invariant()
    def counts_add_up(self) -> None:
        assert self.loop.usable == self.offset
        assert self.loop.waiting == self.offset - sum(self.taken.values())
        assert len(set(self.ids)) == len(self.ids)


TestOneLoop = OneLoop.TestCase
TestOneLoop.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
