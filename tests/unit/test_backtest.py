"""The record judged again under another policy: real small versions, and rows as the recorder writes them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.events import CandidateTrained, VerdictReached
from services.evaluator.examiner import Examiner
from services.evaluator.record import read_past
from services.evaluator.rejudge import Bench
from services.evaluator.scoring import Scorer
from shared.artifacts import ArtifactStore
from shared.errors import BadInputError
from shared.policy import Gate, Policy, PolicyFile
from tests.unit.recorder_story import MODEL, Database, added, at, corrected
from tests.weights import BASE, ROWS, Version, make_version

INVOICES = [("send me the invoice", "invoice"), ("a bill for my taxes", "invoice"), ("my receipt please", "invoice")]
THINGS = ("May", "June", "July", "August", "the chair", "the table", "the lamp", "my company", "the hotel", "the car")
ASKED = [(f"I need the invoice for {thing}", "invoice") for thing in THINGS]
FIRST, SECOND, THIRD = 100.0, 200.0, 300.0  # when a candidate was judged, in seconds


@dataclass
class Scene:
    """A recorded model: v0 and v1 that knows invoices, both real."""

    database: Database
    artifacts: ArtifactStore
    v0: Version
    v1: Version

    def ask(self, rows: Sequence[tuple[str, str]], begin: int) -> None:
        """Users who were asked at random answer, one a second."""
        for number, (text, target) in enumerate(rows, begin):
            events = corrected(f"p{number}", text, target, number, user=f"{number:032x}", solicit=True)
            self.database.record(*events)

    def offer(self, version: Version, parent: Version | None, when: float) -> CandidateTrained:
        """Record that a version was trained."""
        made = CandidateTrained(
            event_id=f"c-{version.id}",
            occurred_at=at(when - 1),
            source="trainer",
            request_id=f"r-{version.id}",
            model=MODEL,
            task="classification",
            base=BASE,
            version=version.id,
            parent=parent.id if parent else None,
            trigger="examples",
            requested_by="aggregator",
            manifest_sha256=version.manifest_sha256,
            labels=version.labels,
        )
        self.database.record(made)
        return made

    def judge(self, made: CandidateTrained, when: float, policies: PolicyFile | None = None) -> VerdictReached:
        """Judge a candidate as the evaluator does now, and record the verdict."""
        examiner = Examiner(self.database.engine, Scorer(self.artifacts), policies or PolicyFile())
        found = examiner.examine(made, self.v0.champion(MODEL), 0)
        verdict = found.model_copy(update={"occurred_at": at(when)})
        self.database.record(verdict)
        return verdict

    def crown(self, version: Version, when: float, previous: Version | None = None, decision: str = "d") -> None:
        """Record that a version became champion."""
        state = version.champion(MODEL).model_copy(
            update={
                "event_id": f"s-{version.id}-{when}",
                "occurred_at": at(when),
                "previous": previous.id if previous else None,
                "decision": decision,
            }
        )
        self.database.record(state)

    def backtest(self, **rules: object) -> dict[str, object]:
        """What another gate would have made of it."""
        return Bench(self.database.engine, self.artifacts, gate(**rules)).judge(MODEL)


def gate(**rules: object) -> PolicyFile:
    return PolicyFile(defaults=Policy(gate=Gate.model_validate(rules)))


def record_of(database: Database, folder: Path) -> Scene:
    """v0 serves since the beginning; ten users were asked about invoices, which it does not know."""
    artifacts = ArtifactStore(f"file://{folder}/artifacts")
    v0 = make_version(artifacts, ROWS, model=MODEL)
    scene = Scene(database, artifacts, v0, make_version(artifacts, ROWS + INVOICES, v0, MODEL))
    card = added(scene.database, ROWS + INVOICES)
    assert card.card
    scene.database.record(card.model_copy(update={"card": card.card.model_copy(update={"base": BASE})}))
    scene.offer(v0, None, -5)
    scene.crown(v0, -4)
    scene.ask(ASKED, 1)
    return scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The record of a model, in memory."""
    return record_of(Database(), tmp_path)


def lines(found: dict[str, object]) -> list[dict[str, object]]:
    told = found["candidates"]
    assert isinstance(told, list)
    return told


def test_the_policy_of_the_time_says_what_was_said(scene: Scene) -> None:
    said = scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    scene.ask([(f"and the bill for {thing}", "invoice") for thing in THINGS], 400)  # nobody knew these then
    first, second = lines(scene.backtest())
    assert (first["outcome"], second["recorded"]) == ("first", said.outcome)
    assert (second["outcome"], second["evidence"], second["reason"]) == (said.outcome, said.evidence, said.reason)
    assert second["candidate_accuracy"] == said.candidate_accuracy
    assert said.outcome == "promote"


def test_another_gate_would_not_have_promoted_and_its_users_would_have_been_served_worse(scene: Scene) -> None:
    said = scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    scene.crown(scene.v1, FIRST + 1, scene.v0, said.event_id)
    scene.ask([(f"a bill for {thing}", "invoice") for thing in THINGS], 150)
    found = scene.backtest(alpha=1e-5)  # at the level .0000005, twenty gains are one too few
    assert [line["outcome"] for line in lines(found)] == ["first", "inconclusive"]
    recorded, replayed = found["recorded"], found["replayed"]
    assert isinstance(recorded, list)
    assert isinstance(replayed, list)
    assert [(reign["version"], reign["answers"]) for reign in recorded] == [("v0", 10), ("v1", 10)]
    assert [(reign["version"], reign["answers"]) for reign in replayed] == [("v0", 20)]
    assert recorded[1]["accuracy"] > 0.5
    assert replayed[0]["accuracy"] == 0.0, "it does not know the label"


def test_a_candidate_that_waits_is_promoted_when_enough_was_said(scene: Scene) -> None:
    scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST, gate(alpha=0.001))
    scene.ask([(f"a bill for {thing}", "invoice") for thing in THINGS], 150)
    _, line = lines(scene.backtest(alpha=0.002))
    assert (line["recorded"], line["outcome"], line["looks"]) == ("inconclusive", "promote", 2)
    assert line["decided_at"] == at(151 + 4).isoformat(), "with the fifteenth answer: half as many again"


def test_the_candidates_of_another_line_stand_in_and_a_person_moves_what_serves(scene: Scene) -> None:
    said = scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    scene.crown(scene.v1, FIRST + 1, scene.v0, said.event_id)
    v2 = make_version(scene.artifacts, [*ROWS, *INVOICES, ("the bill of the car", "invoice")], scene.v1, MODEL)
    scene.offer(v2, scene.v1, SECOND)
    scene.crown(v2, SECOND + 1, scene.v1, "a-review")
    plain, strict = scene.backtest(), scene.backtest(alpha=0.001)
    assert [line["stands_in"] for line in lines(plain)] == [False, False, False]
    assert [line["stands_in"] for line in lines(strict)] == [False, False, True]
    assert [line["champion"] for line in lines(strict)] == [None, "v0", "v0"]
    by_hand = [[(one["version"], one["by_hand"]) for one in found["replayed"]] for found in (plain, strict)]  # type: ignore[attr-defined]
    assert by_hand[0] == [("v0", True), ("v1", False), ("v2", True)]
    assert by_hand[1] == [("v0", True)], "a person who moved the alias from v1 decided nothing of v0"


def test_a_version_whose_files_are_gone_is_told(scene: Scene) -> None:
    scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    shutil.rmtree(scene.v1.folder)
    _, line = lines(scene.backtest())
    assert line["outcome"] == "unreadable"
    assert "manifest" in str(line["reason"])


def test_the_same_record_gives_the_same_lines_and_evidence_ends_with_the_moment(scene: Scene) -> None:
    scene.judge(scene.offer(scene.v1, scene.v0, FIRST), FIRST)
    assert scene.backtest() == scene.backtest(latency_ratio=1e-9) | {"gate": gate().defaults.gate.model_dump()}
    past = read_past(scene.database.engine, MODEL)
    assert len(past.evidence(at(6), 3000, None, ())) == 5  # said a second after the question
    assert len(past.evidence(at(6), 3, None, ())) == 3
    assert len(past.evidence(at(6), 3000, at(3), ())) == 3
    assert past.when(7, at(0), 3000, None, {past.rows[0].id}) == past.moments[7]
    assert past.when(4, at(0), 3, None, ()) is None
    with pytest.raises(BadInputError, match="no version of a model nobody"):
        read_past(scene.database.engine, "nobody")
