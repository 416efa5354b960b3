"""Who is right on which row: versions loaded from the artifact store, answers remembered while a version matters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from schemas.events import CandidateTrained, ModelStateChanged
from services.evaluator.fitness import LINE, Fitness, weigh
from services.evaluator.judges import Judge, Judges
from services.evaluator.rows import Row
from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError
from shared.lm import loading

if TYPE_CHECKING:
    from shared.lm.task import Task


class Scorer:
    """What a few versions make of many rows.

    Champion and candidate share the base in memory; the champion's answers are computed once in its reign, since its
    weights do not change.
    """

    def __init__(self, artifacts: ArtifactStore, threads: int = 0, judges: Judges = lambda _: None) -> None:
        """Start without a base; the first version brings it. It computes on so many cores; 0 are all."""
        self._artifacts = artifacts
        self._threads = threads
        self._judges = judges
        self._judge: dict[str, Judge | None] = {}  # by version
        self._tasks: dict[tuple[str, str], Task] = {}
        self._homes: dict[str, Task] = {}  # where each version is loaded
        self._right: dict[str, dict[tuple[str, str], float]] = {}  # by version, then by row and target
        self._sure: dict[str, dict[str, float]] = {}  # by version, then by row: its belief in its answer
        self._said: dict[str, dict[str, str]] = {}  # by version, then by row: its answer, where answers are labels
        self._labels: dict[str, frozenset[str]] = {}  # by version: what it answers with; of text nothing
        self._fitness: dict[str, Fitness] = {}

    def load(self, made: CandidateTrained | ModelStateChanged) -> dict[str, Any]:
        """Make a version ready; returns its manifest.

        Raises:
            ArtifactError: its files are missing, altered, misshapen or not finite.
        """
        folder, manifest = self._artifacts.get(f"versions/{made.version}", made.manifest_sha256)
        task = self._task(made.task, made.base)
        task.load(made.version, folder)
        self._homes[made.version] = task
        self._judge[made.version] = self._judges(made.model)
        self._right.setdefault(made.version, {})
        self._sure.setdefault(made.version, {})
        self._said.setdefault(made.version, {})
        self._labels[made.version] = frozenset(manifest.get("labels") or ())
        self._fitness[made.version] = weigh(folder)
        return manifest

    def keep(self, *versions: str) -> None:
        """Forget all other versions."""
        for version in self._homes.keys() - set(versions):
            self._homes.pop(version).drop(version)
            for known in (self._right, self._sure, self._said, self._judge, self._labels, self._fitness):
                known.pop(version, None)

    def right(self, version: str, rows: Sequence[Row]) -> tuple[float, ...]:
        """How right the version is on each row: 1 if it gives its target, else 0, or what its model's judge says.

        A label that it does not know is one that it does not give.

        Raises:
            ArtifactError: its weights overflow on a row.
        """
        known = self._right[version]
        missing = [row for row in rows if (row.id, row.target) not in known]
        if missing:
            found = self._found(version, missing)
            known.update(((row.id, row.target), is_right) for row, is_right in zip(missing, found, strict=True))
        return tuple(known[row.id, row.target] for row in rows)

    def say(self, version: str, inputs: Sequence[str]) -> list[str]:
        """What the version says to each input. Raises as `right`."""
        return [answer.output for answer in self._homes[version].answer(version, inputs)]

    def sure(self, version: str, rows: Sequence[Row]) -> tuple[float, ...]:
        """A classifier's belief in its answer on each row that `right` was asked for; nothing of other models."""
        known = self._sure[version]
        return tuple(known[row.id] for row in rows if row.id in known)

    def labels(self, version: str) -> frozenset[str]:
        """What a classifier can answer; nothing of other models."""
        return self._labels[version]

    def said(self, version: str, rows: Sequence[Row]) -> tuple[str, ...]:
        """A classifier's answer to each row that `right` was asked for; nothing of other models."""
        known = self._said[version]
        return tuple(known[row.id] for row in rows if row.id in known)

    def gives(self, version: str, texts: Sequence[str], target: str) -> list[bool]:
        """Whether the version gives the target to each text. Raises as `right`."""
        return self._homes[version].right(version, texts, [target] * len(texts))

    def seconds(self, version: str, texts: Sequence[str]) -> float:
        """What answering the texts takes."""
        begin = time.perf_counter()
        self._homes[version].answer(version, texts)
        return time.perf_counter() - begin

    def fitness(self, version: str) -> Fitness:
        """What a loaded version weighs."""
        return self._fitness[version]

    def line(self, champion: ModelStateChanged) -> tuple[Fitness, ...]:
        """What the champion and its ancestors weigh, as far as they are stored and no more than LINE."""
        line: list[Fitness] = []
        version: str | None = champion.version
        digest: str | None = champion.manifest_sha256
        while version and len(line) < LINE:
            try:
                folder, manifest = self._artifacts.get(f"versions/{version}", digest)
            except ArtifactError:
                break  # cleared away, and with it what came before
            line.append(weigh(folder))
            version, digest = manifest.get("parent"), manifest.get("parent_manifest")
        return tuple(line)

    def _found(self, version: str, rows: Sequence[Row]) -> Sequence[float]:
        task, judge, inputs = self._homes[version], self._judge[version], [row.text for row in rows]
        if judge is None and not self._labels[version]:
            return task.right(version, inputs, [row.target for row in rows])
        answers = task.answer(version, inputs)
        beliefs = {row.id: one.scores[0].score for row, one in zip(rows, answers, strict=True) if one.scores}
        self._sure[version].update(beliefs)
        if self._labels[version]:
            self._said[version].update((row.id, one.output) for row, one in zip(rows, answers, strict=True))
        if judge is None:
            return [float(answer.output == row.target) for row, answer in zip(rows, answers, strict=True)]
        return [judge(row.text, answer.output, row.target) for row, answer in zip(rows, answers, strict=True)]

    def _task(self, name: str, base: str) -> Task:
        if (name, base) not in self._tasks:
            self._tasks[name, base] = loading.task(name, base, self._threads)
        return self._tasks[name, base]
