"""Who moves aliases: canaries that win or lose, champions that are found out, people who decide. Real tiny versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from schemas.events import DecisionAnswered, Event, ModelStateChanged, ReviewDecided, VerdictReached
from services.evaluator.history import History
from services.evaluator.scoring import Scorer
from services.evaluator.steward import Steward
from shared.artifacts import ArtifactStore
from shared.kafka import Publisher
from shared.policy import Gate, People, Policy, PolicyFile, Trial
from tests.kafka.evaluators import candidate, contrary, first
from tests.kafka.stage import Stage
from tests.unit.recorder_story import MODEL, NOON, Database, reviewed, said, served
from tests.unit.test_history import record
from tests.weights import ROWS, Version

LABEL = dict(ROWS)


@dataclass
class Log:
    """The log: what is published is in the history at once."""

    history: History
    events: list[Event] = field(default_factory=list)

    def publish(self, *events: Event) -> None:
        self.events += events
        self.history.update(map(record, events))


@dataclass
class Town:
    """A steward with a champion and a candidate that the gate promoted; its clock is a test's to move."""

    folder: Path
    database: Database
    rules: Trial
    people: People = field(default_factory=People)
    gate: Gate = field(default_factory=Gate)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked: int = 0

    def __post_init__(self) -> None:
        self.log = Log(History())
        store = ArtifactStore(f"file://{self.folder}/artifacts")
        stage = cast(Stage, _Place(self.folder, store))
        self.v0 = first(stage)
        self.v1 = contrary(stage, self.v0, "other")
        policies = PolicyFile(defaults=Policy(trial=self.rules, people=self.people, gate=self.gate))
        self.steward = Steward(
            cast(Publisher, self.log), self.log.history, self.database.engine, Scorer(store), policies, lambda: self.now
        )
        state = self.v0.champion(MODEL).model_copy(update={"occurred_at": NOON})
        self.database.record(candidate(self.v0), state, candidate(self.v1, self.v0))
        self.log.publish(state)
        self.log.events.clear()

    def promote(self) -> None:
        """The gate has promoted v1; whether it moves is up to the steward."""
        verdict = VerdictReached(
            event_id="verdict-1",
            occurred_at=self.now,
            source="evaluator",
            model=MODEL,
            candidate=self.v1.id,
            champion=self.v0.id,
            outcome="promote",
            reason="Better than the champion.",
        )
        self.log.history.update([record(verdict)])
        self.steward.promote(candidate(self.v1, self.v0), verdict)

    def answers(self, version: Version, right: bool, count: int, target: bool = True) -> None:
        """So many users, each asked at random, say whether the version was right and perhaps what would have been."""
        for _ in range(count):
            self.answer(self.ask(version, right), right, target)

    def ask(self, version: Version, right: bool = False) -> str:
        """A user of its own is asked at random whether the version was right; the prediction."""
        self.asked += 1
        self.now += timedelta(seconds=2)
        text, label = ROWS[self.asked % len(ROWS)]
        key, user, output = f"p{self.asked}", f"{self.asked:032x}", label if right else "wrong"
        self.database.record(served(key, text, output, self.when, user=user, solicit=True, version=version.id))
        return key

    def answer(self, key: str, right: bool = False, target: bool = True) -> None:
        """The user answers."""
        number = int(key.removeprefix("p"))
        _, label = ROWS[number % len(ROWS)]
        value = label if target else "up" if right else "down"
        self.database.record(said(key, value, self.when + 1, user=f"{number:032x}"))

    @property
    def when(self) -> float:
        """Seconds since NOON."""
        return (self.now - NOON).total_seconds()

    def tend(self, turns: int = 4) -> None:
        self.now += timedelta(seconds=2)
        for _ in range(turns):
            self.steward.tend(MODEL)

    def decide(
        self,
        decision: Literal["promote", "rollback", "hold", "release"],
        version: str,
        name: str,
        reviewer: str = "ada",
        ago: float = 60,
    ) -> DecisionAnswered:
        """A reviewer decides; the last answer to it."""
        review = ReviewDecided(
            event_id=name, occurred_at=self.now - timedelta(seconds=ago), source="collector", subject_kind="version",
            subject=version, model=MODEL, decision=decision, reviewer=reviewer, note="I know better",
        )  # fmt: skip
        self.log.history.update([record(review)])
        self.tend()
        return self.log.history.answers[name]

    @property
    def states(self) -> list[tuple[str, str, float, str]]:
        """Alias, version (v0 or v1), share and who decided, of all states that the steward wrote."""
        names = {self.v0.id: "v0", self.v1.id: "v1"}
        return [
            (one.alias, names[one.version], one.share, one.decided_by)
            for one in self.log.events
            if isinstance(one, ModelStateChanged)
        ]

    @property
    def verdicts(self) -> list[VerdictReached]:
        return [one for one in self.log.events if isinstance(one, VerdictReached)]


@dataclass(frozen=True)
class _Place:
    """What makers of versions need of a stage."""

    folder: Path
    artifacts: ArtifactStore


Makes = Callable[..., Town]


@pytest.fixture
def town(tmp_path: Path) -> Makes:
    def make(people: People | None = None, gate: Gate | None = None, **rules: Any) -> Town:
        return Town(tmp_path, Database(), Trial(**rules), people or People(), gate or Gate())

    return make


# --- canary ------------------------------------------------------------------------------------------------------


def test_without_a_share_a_promoted_candidate_is_champion_at_once(town: Makes) -> None:
    here = town()
    here.promote()
    here.tend()
    assert here.states == [("champion", "v1", 0.0, "gate")]


def test_a_canary_that_is_better_for_its_users_becomes_champion_before_the_end(town: Makes) -> None:
    here = town(canary=0.5, canary_answers=200)
    here.promote()
    assert here.states == [("canary", "v1", 0.5, "gate")]
    for _ in range(15):
        here.answers(here.v1, True, 1)
        here.answers(here.v0, False, 1, target=False)
    here.tend()
    assert here.states[1:] == [("champion", "v1", 0.0, "canary"), ("canary", "v1", 0.0, "canary")]
    [verdict] = here.verdicts
    assert (verdict.outcome, verdict.decided_by, verdict.champion) == ("promote", "canary", here.v0.id)
    assert verdict.evidence < 29
    assert (verdict.candidate_accuracy, verdict.champion_accuracy) == (1.0, 0.0)
    assert "Better than the champion for its users" in verdict.reason


def test_a_canary_that_is_worse_is_stopped_and_not_tried_again(town: Makes) -> None:
    here = town(canary=0.5, canary_answers=200)
    here.promote()
    for _ in range(15):
        here.answers(here.v1, False, 1)
        here.answers(here.v0, True, 1)
    here.tend()
    here.promote()
    here.tend()
    assert here.states == [("canary", "v1", 0.5, "gate"), ("canary", "v1", 0.0, "canary")]
    [verdict] = here.verdicts
    assert (verdict.outcome, verdict.decided_by) == ("reject", "canary")
    assert not verdict.checks[0].passed


def test_a_trial_that_proves_nothing_ends_with_who_is_ahead(town: Makes) -> None:
    here = town(canary=0.5, canary_answers=20)
    here.promote()
    for number in range(12):
        here.answers(here.v1, number % 4 != 0, 1)
        here.answers(here.v0, number % 3 != 0, 1)
    here.tend()
    [verdict] = here.verdicts
    assert (verdict.outcome, verdict.evidence) == ("promote", 20)
    assert "Neither better nor worse for certain" in verdict.reason


def test_nothing_is_decided_while_little_was_said(town: Makes) -> None:
    here = town(canary=0.5)
    here.promote()
    here.answers(here.v1, False, 3)
    here.answers(here.v0, True, 3)
    here.tend()
    assert here.states == [("canary", "v1", 0.5, "gate")]
    assert here.verdicts == []


def test_a_canary_that_no_predictor_serves_is_stopped(town: Makes) -> None:
    here = town(canary=0.5, canary_answers=20)
    here.promote()
    here.answers(here.v0, True, 20)
    here.tend()
    assert here.states[1:] == [("canary", "v1", 0.0, "canary")]
    assert "none was on the canary's" in here.verdicts[0].reason


def test_a_canary_whose_files_are_gone_is_stopped(town: Makes) -> None:
    here = town(canary=0.5)
    here.promote()
    (here.v1.folder / "head.safetensors").unlink()
    here.answers(here.v0, True, 1)
    here.tend()
    assert here.states[1:] == [("canary", "v1", 0.0, "canary")]
    assert "head.safetensors is missing" in here.verdicts[0].reason


def test_another_candidate_waits_for_the_trial(town: Makes) -> None:
    here = town(canary=0.5)
    here.promote()
    here.promote()
    assert len(here.states) == 1


# --- watch -------------------------------------------------------------------------------------------------------


def test_a_new_champion_that_is_worse_is_rolled_back_with_its_figures(town: Makes) -> None:
    here = town()
    here.promote()
    here.answers(here.v1, False, 14)
    here.tend()
    assert here.states == [("champion", "v1", 0.0, "gate"), ("champion", "v0", 0.0, "watch")]
    [verdict] = here.verdicts
    assert (verdict.candidate, verdict.champion, verdict.outcome) == (here.v1.id, here.v0.id, "reject")
    assert verdict.candidate_accuracy == 0.0
    assert verdict.champion_accuracy is not None
    assert verdict.champion_accuracy > 0.9
    back = here.log.events[-1]
    assert isinstance(back, ModelStateChanged)
    assert (back.previous, back.decision, back.reason) == (here.v1.id, verdict.event_id, verdict.reason)


def test_what_nobody_corrected_cannot_tell_and_few_answers_do_not(town: Makes) -> None:
    here = town()
    here.promote()
    here.answers(here.v1, False, 30, target=False)
    here.answers(here.v1, False, 3)
    here.tend()
    assert here.verdicts == []


def asked_and_half_silent(here: Town) -> list[str]:
    """A worse champion of which half of those who were asked say nothing; the predictions that these were asked of."""
    here.promote()
    silent = []
    for _ in range(14):
        silent.append(here.ask(here.v1))
        here.answers(here.v1, False, 1)
    here.tend()
    return silent


def test_who_is_silent_speaks_for_who_serves_until_the_answer_comes(town: Makes) -> None:
    here = town()
    silent = asked_and_half_silent(here)
    assert here.verdicts == []
    for key in silent[2:]:
        here.answer(key)
    here.tend()
    [verdict] = here.verdicts
    assert verdict.evidence == 13  # and two against it, in the order of asking
    assert "2 users who did not answer" in verdict.reason
    assert here.states[-1] == ("champion", "v0", 0.0, "watch")


def test_where_half_are_silent_answers_prove_nothing(town: Makes) -> None:
    here = town(watch_answers=20)
    here.promote()
    for _ in range(20):
        here.ask(here.v1, right=True)
    here.answers(here.v1, False, 19)
    here.tend()
    assert here.verdicts == []


def test_silence_is_nothing_where_the_policy_trusts_it(town: Makes) -> None:
    here = town(gate=Gate(silence="fair"))
    asked_and_half_silent(here)
    [verdict] = here.verdicts
    assert "asked and did not answer are not counted" in verdict.reason


def test_where_nobody_answers_reviewers_labels_take_a_champion_back(town: Makes) -> None:
    here = town()
    here.promote()
    for _ in range(20):
        here.ask(here.v1)
    here.tend()
    assert here.verdicts == []
    for number, (text, label) in enumerate(ROWS):
        here.database.record(
            served(f"a{number}", text, "wrong", here.when, user=f"{number:032x}", audit=True, version=here.v1.id),
            reviewed(text, "relabel", label, here.when + 1, audit_of=f"a{number}"),
        )
        here.now += timedelta(seconds=2)
    here.tend()
    [verdict] = here.verdicts
    assert "audits since it serves" in verdict.reason
    assert here.states[-1] == ("champion", "v0", 0.0, "watch")


def test_the_watch_ends_and_can_be_switched_off(town: Makes) -> None:
    here = town(watch_answers=0)
    here.promote()
    here.answers(here.v1, False, 20)
    here.tend()
    assert here.states == [("champion", "v1", 0.0, "gate")]


def test_what_a_person_promoted_is_not_watched(town: Makes) -> None:
    here = town()
    assert here.decide("promote", here.v1.id, "r1").outcome == "done"
    here.answers(here.v1, False, 20)
    here.tend()
    assert here.states == [("champion", "v1", 0.0, "ada")]


# --- people ------------------------------------------------------------------------------------------------------


def test_a_reviewer_promotes_and_rolls_back_with_a_reason(town: Makes) -> None:
    here = town()
    assert here.decide("promote", here.v1.id, "r1").reason == f"{here.v1.id} is champion."
    here.database.record(*(one for one in here.log.events if isinstance(one, ModelStateChanged)))
    assert here.decide("rollback", here.v0.id, "r2", "bob").outcome == "done"
    assert here.states == [("champion", "v1", 0.0, "ada"), ("champion", "v0", 0.0, "bob")]
    back = here.log.history.champions[MODEL]
    assert (back.previous, back.decision) == (here.v1.id, "r2")
    assert back.reason == "Rolled back by bob: I know better"


@pytest.mark.parametrize(
    ("decision", "version", "why"),
    [
        ("promote", "v-unknown", "has no version v-unknown"),
        ("promote", "v0", "is the champion already"),
        ("rollback", "v1", "has never been champion"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(
    town: Makes, decision: Literal["promote", "rollback"], version: str, why: str
) -> None:
    here = town()
    known = {"v0": here.v0.id, "v1": here.v1.id}
    answer = here.decide(decision, known.get(version, version), "r1")
    assert answer.outcome == "refused"
    assert why in answer.reason
    assert here.states == []


def test_a_version_whose_files_are_gone_cannot_be_promoted(town: Makes) -> None:
    here = town()
    (here.v1.folder / "head.safetensors").unlink()
    assert "head.safetensors is missing" in here.decide("promote", here.v1.id, "r1").reason
    assert here.states == []


def test_a_version_that_the_recorder_may_not_know_yet_is_waited_for(town: Makes) -> None:
    here = town()
    with pytest.raises(KeyError):
        here.decide("promote", "v-unknown", "r1", ago=5)
    here.now += timedelta(seconds=10)
    here.tend()
    assert here.log.history.answers["r1"].outcome == "refused"


def test_a_held_champion_stays_until_it_is_released(town: Makes) -> None:
    here = town()
    assert here.decide("hold", here.v0.id, "r1").outcome == "done"
    here.promote()
    here.tend()
    assert here.states == []
    assert here.decide("release", here.v0.id, "r2").outcome == "done"
    here.promote()
    assert here.states == [("champion", "v1", 0.0, "gate")]


def test_a_hold_lets_a_bad_canary_be_stopped_and_no_good_one_win(town: Makes) -> None:
    here = town(canary=0.5, canary_answers=20)
    here.promote()
    here.decide("hold", here.v0.id, "r1")
    for _ in range(15):
        here.answers(here.v1, True, 1)
        here.answers(here.v0, False, 1)
    here.tend()
    assert here.states == [("canary", "v1", 0.5, "gate")]
    here.decide("release", here.v0.id, "r2")
    assert ("champion", "v1", 0.0, "canary") in here.states


def test_a_person_who_moves_the_champion_ends_the_trial(town: Makes) -> None:
    here = town(canary=0.5)
    here.promote()
    here.decide("promote", here.v1.id, "r1")
    assert here.states[1:] == [("champion", "v1", 0.0, "ada"), ("canary", "v1", 0.0, "ada")]


def test_two_people_must_agree_where_the_policy_says_so(town: Makes) -> None:
    here = town(People(two="names"))
    assert here.decide("promote", here.v1.id, "r1").outcome == "waits"
    assert here.states == []
    assert here.decide("promote", here.v1.id, "r2").outcome == "refused"
    assert here.decide("promote", here.v1.id, "r3", "bob").reason.endswith("ada and bob agree.")
    assert here.log.history.answers["r1"].outcome == "done"
    assert here.states == [("champion", "v1", 0.0, "bob")]


def test_a_turn_after_a_crash_at_any_place_ends_as_without_it(town: Makes, tmp_path: Path) -> None:
    """Whatever the steward had written when it died, another one goes on from there and writes the rest, once."""
    here = town(canary=0.5, canary_answers=20)
    here.promote()
    here.decide("promote", "v-unknown", "r1")
    for _ in range(15):
        here.answers(here.v1, True, 1)
        here.answers(here.v0, False, 1)
    here.tend()
    whole = here.log.events
    for length in range(1, len(whole)):
        after = History()
        begun = here.v0.champion(MODEL).model_copy(update={"occurred_at": NOON})
        review = here.log.history.reviews[MODEL]["r1"]
        after.update(map(record, [begun, review, *whole[:length]]))
        log = Log(after)
        again = Steward(
            cast(Publisher, log), after, here.database.engine, here.steward.scorer, here.steward.policies,
            lambda: here.now,
        )  # fmt: skip
        for _ in range(4):
            again.tend(MODEL)
        assert [one.event_id for one in (*whole[:length], *log.events)] == [one.event_id for one in whole]
