"""Who is right on which row: versions loaded from the artifact store, answers remembered while a version matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.evaluator.evidence import Row
from shared.artifacts import ArtifactStore
from shared.lm import loading

if TYPE_CHECKING:
    from shared.lm.classifier import Classifier


class Scorer:
    """Answers of a few versions on many rows.

    Champion and candidate share the base in memory; the champion's answers are computed once in its reign, since its
    weights do not change.
    """

    def __init__(self, artifacts: ArtifactStore, threads: int = 0) -> None:
        """Start without a base; the first version brings it. It computes on so many cores; 0 are all."""
        self._artifacts = artifacts
        self._threads = threads
        self._classifiers: dict[str, Classifier] = {}
        self._answers: dict[str, dict[str, str]] = {}

    def load(self, version: str, base: str, manifest_sha256: str) -> dict[str, Any]:
        """Make a version ready; returns its manifest.

        Raises:
            ArtifactError: its files are missing, altered, misshapen or not finite.
        """
        folder, manifest = self._artifacts.get(f"versions/{version}", manifest_sha256)
        self._classifier(base).load(version, folder)
        self._answers.setdefault(version, {})
        return manifest

    def keep(self, base: str, *versions: str) -> None:
        """Forget all other versions on a base."""
        classifier = self._classifier(base)
        for version in classifier.versions - set(versions):
            classifier.drop(version)
            self._answers.pop(version, None)

    def right(self, base: str, version: str, rows: Sequence[Row]) -> tuple[bool, ...]:
        """Whether the version gives each row's target; a label that it does not know is one that it does not give.

        Raises:
            ArtifactError: its weights overflow on a row.
        """
        known = self._answers[version]
        missing = [row for row in rows if row.id not in known]
        if missing:
            answers = self._classifier(base).predict(version, [row.text for row in missing])
            known.update((row.id, answer[0].label) for row, answer in zip(missing, answers, strict=True))
        return tuple(known[row.id] == row.target for row in rows)

    def _classifier(self, base: str) -> Classifier:
        if base not in self._classifiers:
            self._classifiers[base] = loading.classifier(base, self._threads)
        return self._classifiers[base]
