"""Judge the record again: python -m services.evaluator.rejudge POLICY DATABASE ARTIFACTS [MODEL].

What `learnback backtest` runs, since it loads versions and the command does not. Lines of JSON go to the output: first
progress (`done`, `of`, `what`), then one line a model with all that was found.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from services.evaluator.backtest import Judged, Replay, Served, served
from services.evaluator.judges import read_judges
from services.evaluator.record import models_of, read_past
from services.evaluator.scoring import Scorer
from shared.artifacts import ArtifactStore
from shared.errors import LearnbackError
from shared.policy import Policy, PolicyFile, read_policy
from shared.tables import open_database

INTEGRITY = "integrity"  # the check that fails when files are gone
ANY = 1e9  # times as long: no limit


@dataclass(frozen=True)
class Bench:
    """What it takes to judge again."""

    engine: Engine
    artifacts: ArtifactStore
    policies: PolicyFile

    def judge(self, model: str) -> dict[str, Any]:
        """All that was found of a model, for JSON."""
        tags = self.policies.of(model).trigger.slice_tags
        past = read_past(self.engine, model, tags)
        scorer = Scorer(self.artifacts, judges=read_judges(self.policies))
        replay = Replay(self.engine, past, scorer, timeless(self.policies))
        replay.run(lambda done, of, name: say({"done": done, "of": of, "what": f"{model} {name}"}))
        called = {one.made.version: one.name for one in past.candidates}
        say({"done": len(past.candidates), "of": len(past.candidates), "what": f"{model}: accuracy of who served"})
        return {
            "model": model,
            "gate": self.policies.of(model).gate.model_dump(),
            "candidates": [told(one, called) for one in replay.judged],
            "recorded": _reigns(served(past, past.reigns, scorer), called),
            "replayed": _reigns(served(past, replay.reigns, scorer), called),
        }


def timeless(policies: PolicyFile) -> PolicyFile:
    """The policy without its limit on latency: what an answer takes now, on this machine, says nothing of then."""

    def loose(policy: Policy) -> Policy:
        return policy.model_copy(update={"gate": policy.gate.model_copy(update={"latency_ratio": ANY})})

    models = {name: loose(policy) for name, policy in policies.models.items()}
    return policies.model_copy(update={"defaults": loose(policies.defaults), "models": models})


def told(one: Judged, called: dict[str, str]) -> dict[str, Any]:
    """A candidate's line."""
    verdict = one.verdict
    lost = verdict is not None and any(check.name == INTEGRITY and not check.passed for check in verdict.checks)
    return {
        "version": one.candidate.name,
        "id": one.candidate.made.version,
        "at": one.candidate.at.isoformat(),
        "recorded": one.candidate.outcome,
        "outcome": "first" if verdict is None else "unreadable" if lost else verdict.outcome,
        "decided_at": one.at.isoformat(),
        "looks": verdict.look if verdict else 0,
        "stands_in": one.stands_in,
        "champion": called.get(verdict.champion or "") if verdict else None,
        "evidence": verdict.evidence if verdict else 0,
        "champion_accuracy": verdict.champion_accuracy if verdict else None,
        "candidate_accuracy": verdict.candidate_accuracy if verdict else None,
        "reason": verdict.reason if verdict else "The model's first version.",
    }


def _reigns(found: tuple[Served, ...], called: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "version": called.get(one.reign.version, one.reign.version),
            "since": one.reign.since.isoformat(),
            "by_hand": one.reign.by_hand,
            "answers": one.answers,
            "accuracy": one.accuracy,
        }
        for one in found
    ]


def say(line: dict[str, Any]) -> None:
    """One line of the output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(policy: str, database: str, artifacts: str, *models: str) -> None:
    """Judge each model's record."""
    bench = Bench(open_database(database), ArtifactStore(artifacts), read_policy(Path(policy)))
    for model in models or models_of(bench.engine):
        say(bench.judge(model))
    bench.engine.dispose()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LearnbackError as error:
        sys.exit(str(error))
