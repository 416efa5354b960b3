"""The evaluator on a real broker with real weights: one verdict a candidate, and the alias moves once or not at all."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from schemas.events import ModelStateChanged, VerdictReached
from shared.anchor import version_of
from shared.kafka import Bus
from shared.policy import Gate, Policy, PolicyFile
from shared.text import example_id
from shared.topics import CANDIDATES
from tests.kafka.evaluators import (
    ASKED,
    answer,
    better,
    candidate,
    contrary,
    evaluator,
    first,
    judged,
    looks,
    rewrite,
    serve,
    variant,
    verdict_on,
)
from tests.kafka.stage import Stage, process, staged, until
from tests.unit.recorder_story import MODEL, corrected, edited
from tests.weights import ROWS, Version

pytestmark = pytest.mark.kafka
CHECKS = ["lineage", "anchor", "harm", "slices", "triggers", "latency", "size", "norm", "calibration", "superiority"]
TWO_TRIES = PolicyFile(defaults=Policy(gate=Gate(tries=2)))


@pytest.fixture
def stage(bus: Bus, tmp_path: Path) -> Iterator[Stage]:
    with staged(bus, tmp_path, TWO_TRIES) as here:
        yield here


def nothing_new(stage: Stage, after: Version) -> None:
    """All that was announced so far has been dealt with: the next candidate, which is missing, is refused."""
    gone = Version("vgone", "0" * 64, stage.folder, after.labels)
    assert judged(stage, gone, after).outcome == "reject"


def test_a_first_version_serves_by_the_decision_of_the_person_who_added_the_model(stage: Stage) -> None:
    v0 = first(stage)
    with evaluator(stage):
        verdict = judged(stage, v0)
        until(lambda: stage.of(ModelStateChanged))
        stage.publish(candidate(v0))
        nothing_new(stage, v0)
    [state] = stage.of(ModelStateChanged)
    assert (verdict.outcome, verdict.champion, verdict.alpha) == ("promote", None, None)
    assert "rita" in verdict.reason
    assert (state.alias, state.version, state.previous) == ("champion", v0.id, None)
    assert (state.manifest_sha256, state.decision) == (v0.manifest_sha256, verdict.event_id)
    assert len(stage.of(VerdictReached)) == 2


def test_a_clear_gain_on_answers_that_were_asked_for_is_promoted_once(stage: Stage) -> None:
    v0 = first(stage)
    v1 = better(stage, v0)
    old = serve(stage, v0)
    stage.database.record(candidate(v1, v0), *corrected("c", "where do I find my invoice", "invoice", version=v0.id))
    answer(stage, ASKED + ROWS)
    with evaluator(stage):
        verdict = judged(stage, v1, v0)
        until(lambda: len(stage.of(ModelStateChanged)) == 2)
        stage.publish(candidate(v1, v0))
        nothing_new(stage, v1)
    assert verdict.outcome == "promote"
    assert [check.name for check in verdict.checks if check.passed] == CHECKS
    assert (verdict.evidence, verdict.champion_accuracy) == (24, 0.5), "the champion cannot know «invoice»"
    assert verdict.candidate_accuracy is not None
    assert verdict.candidate_accuracy >= 21 / 24
    assert (verdict.alpha, verdict.alpha_left) == (0.025, 0.025)
    assert verdict.fixes == (example_id(MODEL, "where do I find my invoice"),)
    before, state = stage.of(ModelStateChanged)
    assert before == old
    assert (state.version, state.previous, state.decision) == (v1.id, v0.id, verdict.event_id)
    assert verdict.occurred_at <= state.occurred_at
    assert len(stage.of(VerdictReached)) == 2


def test_files_that_cannot_be_trusted_are_rejected_and_the_champion_stays(stage: Stage) -> None:
    v0 = first(stage)
    serve(stage, v0)
    nan = rewrite("head.safetensors", "bias", lambda bias: bias * torch.nan)
    narrow = rewrite("head.safetensors", "weight", lambda weight: weight[:, :-1])
    broken = [variant(stage, v0, "nan", nan), variant(stage, v0, "narrow", narrow), contrary(stage, v0, "altered")]
    labels = broken[2].folder / "labels.json"
    labels.write_text(labels.read_text().replace("refund", "Refund"))
    with evaluator(stage):
        verdicts = [judged(stage, version, v0) for version in broken]
    assert [verdict.outcome for verdict in verdicts] == ["reject"] * 3
    assert [verdict.checks[0].name for verdict in verdicts] == ["integrity"] * 3
    for verdict, reason in zip(verdicts, ("not finite", "not fit", "labels.json is missing or differs"), strict=True):
        assert reason in verdict.reason
    assert [state.version for state in stage.of(ModelStateChanged)] == [v0.id]


def test_a_candidate_of_another_champion_waits_and_costs_nothing(stage: Stage) -> None:
    v0 = first(stage)
    serve(stage, v0)
    answer(stage, ROWS)
    with evaluator(stage):
        verdict = judged(stage, contrary(stage, v0, "orphan"), better(stage, v0))
    assert (verdict.outcome, verdict.checks[0].name, verdict.checks[0].passed) == ("inconclusive", "lineage", False)
    assert (verdict.alpha, verdict.alpha_left) == (None, 0.05)
    assert len(stage.of(ModelStateChanged)) == 1


def test_an_edit_of_the_golden_anchor_holds_from_the_next_verdict_on(stage: Stage) -> None:
    v0 = first(stage)
    serve(stage, v0)
    text, label = "please give me my money back", "refund"
    versions = []
    with evaluator(stage):
        for name, edits in (("one", []), ("two", [edited(text, "add", label)]), ("three", [edited(text, "retire")])):
            stage.database.record(*edits)
            verdict = judged(stage, contrary(stage, v0, name), v0)
            [check] = [one for one in verdict.checks if one.name == "anchor"]
            versions.append((verdict.anchor, check.n))
    assert versions == [(None, 0), (version_of([(example_id(MODEL, text), label)]), 1), (None, 0)]


def test_a_champion_whose_files_are_gone_is_not_the_candidates_fault(stage: Stage) -> None:
    v0 = first(stage)
    other = contrary(stage, v0, "other")
    serve(stage, v0)
    (v0.folder / "head.safetensors").unlink()
    with evaluator(stage):
        verdict = judged(stage, other, v0)
    assert verdict.outcome == "inconclusive"
    assert "champion" in verdict.reason
    assert v0.id in verdict.reason


def test_a_crash_between_verdict_and_state_is_made_good(stage: Stage) -> None:
    v0 = first(stage)
    v1 = better(stage, v0)
    serve(stage, v0)
    decided = VerdictReached(
        event_id="verdict-before-the-crash",
        occurred_at=v0.champion().occurred_at,
        source="evaluator",
        model=MODEL,
        candidate=v1.id,
        champion=v0.id,
        outcome="promote",
        reason="Better than the champion.",
    )
    stage.publish(decided, candidate(v1, v0))
    with evaluator(stage):
        until(lambda: len(stage.of(ModelStateChanged)) == 2)
        stage.publish(candidate(v1, v0))
        nothing_new(stage, v1)
    state = stage.of(ModelStateChanged)[1]
    assert (state.version, state.decision, state.reason) == (v1.id, decided.event_id, decided.reason)
    assert verdict_on(stage, v1) == decided
    assert len(stage.of(ModelStateChanged)) == 2


def test_a_candidate_that_waits_is_looked_at_again_when_there_is_half_as_much_more_evidence(stage: Stage) -> None:
    v0 = first(stage)
    v1 = better(stage, v0)
    serve(stage, v0)
    answer(stage, ROWS)  # nothing that v0 does not know
    with evaluator(stage):
        assert judged(stage, v1, v0).outcome == "inconclusive"
        answer(stage, ASKED, begin=len(ROWS))
        until(lambda: len(stage.of(ModelStateChanged)) == 2)
        stage.publish(candidate(v1, v0))
        nothing_new(stage, v1)
    early, late = looks(stage, v1)
    assert (early.look, early.evidence, early.alpha) == (1, 12, None), "nothing could be rejected: no test was spent"
    assert (late.look, late.evidence, late.outcome, late.alpha_left) == (2, 24, "promote", 0.025)
    assert stage.of(ModelStateChanged)[1].decision == late.event_id != early.event_id


def test_a_crash_after_a_later_look_is_made_good(stage: Stage) -> None:
    v0 = first(stage)
    v1 = better(stage, v0)
    serve(stage, v0)
    answer(stage, ROWS)
    with evaluator(stage):
        waiting = judged(stage, v1, v0)
    changed = {"event_id": "second-look", "look": 2, "outcome": "promote", "occurred_at": datetime.now(UTC)}
    stage.publish(waiting.model_copy(update=changed))
    for _ in range(2):  # its offset is committed long since: nobody announces it again
        with evaluator(stage):
            until(lambda: len(stage.of(ModelStateChanged)) == 2)
    with evaluator(stage):
        nothing_new(stage, v1)
    assert [one.version for one in stage.of(ModelStateChanged)] == [v0.id, v1.id]


def test_poison_is_put_aside_and_the_next_candidate_is_judged(stage: Stage) -> None:
    v0 = first(stage)
    stage.poison(CANDIDATES)
    with evaluator(stage):
        assert judged(stage, v0).outcome == "promote"
    # What says nothing is passed over.
    assert stage.dead_letters() == [("evaluator", "decode_error", 0), ("evaluator", "schema_error", 1)]


def test_the_tests_of_a_reign_are_counted_across_restarts_and_then_a_person_must_decide(stage: Stage) -> None:
    v0 = first(stage)
    serve(stage, v0)
    label = dict(zip(v0.labels, (*v0.labels[1:], v0.labels[0]), strict=True))
    answer(stage, [(text, label[right]) for text, right in ROWS[::2]] + ROWS[1::2])  # half of them like the contrary
    few = stage.policies.of(MODEL).gate.tries
    verdicts = []
    for name in ("one", "two", "three"):
        with evaluator(stage):
            verdicts.append(judged(stage, contrary(stage, v0, name), v0))
    assert [verdict.outcome for verdict in verdicts] == ["inconclusive"] * 3
    assert [verdict.alpha for verdict in verdicts] == [0.025, 0.025, None]
    assert [verdict.alpha_left for verdict in verdicts] == [0.025, 0, 0]
    assert f"All {few} tests" in verdicts[2].reason


def test_an_evaluator_as_its_users_run_it(stage: Stage) -> None:
    v0 = first(stage)
    with process(stage, "evaluator") as running:
        assert judged(stage, v0).outcome == "promote"
        until(lambda: stage.of(ModelStateChanged))
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


def test_a_candidate_that_kills_the_evaluator_three_times_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = first(stage)
    stage.publish(candidate(deadly))
    monkeypatch.setenv("LEARNBACK_INSTANCE", "one")  # whose partitions are its successor's at once
    with monkeypatch.context() as dying:
        dying.setenv("LEARNBACK_CRASH_AT", "evaluator.after_eval")
        for _ in range(3):
            with process(stage, "evaluator") as victim:
                assert victim.wait(60) == -signal.SIGKILL
    with process(stage, "evaluator"):
        refused = verdict_on(stage, deadly)
        nothing_new(stage, deadly)
    assert (refused.outcome, refused.reason) == ("reject", "The evaluator died of it 3 times.")
    assert stage.dead_letters() == [("evaluator", "crash_loop", 0)]
    assert stage.of(ModelStateChanged) == []
