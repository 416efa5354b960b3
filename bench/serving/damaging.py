"""Damaged versions are announced one after the other to what serves a good one: how many of them come to answer."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

from structlog.testing import capture_logs

from bench.report import Figure, Tell, at_least, at_most
from bench.serving.damage import KINDS, store_damaged
from bench.serving.plan import Plan
from bench.serving.versions import MODEL, Made, make
from services.predictor.answers import Answer, Question
from services.predictor.serving import Serving
from shared.artifacts import ArtifactStore
from shared.manifest import MANIFEST


def figures(folder: Path, plan: Plan, tell: Tell) -> list[Figure]:
    """How many damaged versions were served, and whether the good one always was."""
    store, chance = ArtifactStore(f"file://{folder}/artifacts"), random.Random(1)
    [good] = make(store, 1)
    serving, served, silent = Serving(store), Counter[str](), 0
    assert serving.serve(good.state()), "the good one serves"
    with capture_logs() as told:
        for number in range(plan.damaged):
            kind = KINDS[number % len(KINDS)]
            version, files = f"damaged-{number}", folder / "files"
            _copy(store.root / "versions" / good.version, files)
            bad = Made(version, store_damaged(store, files, version, kind, chance))
            taken = serving.serve(bad.state(*(("canary", 0.5) if number % 3 == 0 else ())))
            [answer] = serving.answer(serving.take([Question(MODEL, f"user {number}", "where is my parcel")]))
            served[kind] += taken
            silent += not (isinstance(answer, Answer) and answer.version == good.version)
            shutil.rmtree(store.root / "versions" / version)
    alarms = sum(entry["event"] == "swap_refused" for entry in told)
    tell(f"{plan.damaged} damaged versions were announced")
    return [
        Figure(f"damaged versions that were served, of {plan.damaged}", served.total(), "versions", at_most(0)),
        Figure("… of which an alarm told", alarms, "versions", at_least(plan.damaged)),
        Figure("… after which the good one did not answer", silent, "times", at_most(0)),
    ]


def _copy(source: Path, files: Path) -> None:
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    for path in source.iterdir():
        if path.name != MANIFEST:
            shutil.copyfile(path, files / path.name)
