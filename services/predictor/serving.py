"""The models in memory and which version of each answers. All runs on one thread, so a swap falls between batches.

A version is loaded, checked and warmed before it takes traffic; one that cannot be trusted leaves the old one serving.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram

from schemas.events import LabelScore, ModelStateChanged
from shared.artifacts import ArtifactStore
from shared.crash import crash_point
from shared.errors import LearnbackError, UnknownModelError
from shared.lm import loading

if TYPE_CHECKING:
    from shared.lm.task import Task

SWAP_SECONDS = Histogram("learnback_swap_seconds", "From the news of a champion to its first answer", ["model"])
SWAP_FAILED = Counter("learnback_swap_failed_total", "Champions that could not be loaded", ["model"])
ADAPTER_INFO = Gauge("learnback_adapter_info", "1 for the version that answers", ["model", "version"])

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """What one version says to one input; classification tells its belief in the first labels, highest first."""

    model: str
    version: str
    output: str
    scores: tuple[LabelScore, ...] = ()


class Serving:
    """Champions in memory: one base model each, shared by all versions on it."""

    def __init__(self, artifacts: ArtifactStore, threads: int = 0) -> None:
        """Start empty; model states bring bases and versions. They compute on so many cores; 0 are all."""
        self._artifacts = artifacts
        self._threads = threads
        self._tasks: dict[tuple[str, str], Task] = {}
        self._champions: dict[str, ModelStateChanged] = {}

    @property
    def champions(self) -> dict[str, ModelStateChanged]:
        """The state that each model serves under."""
        return dict(self._champions)

    def serve(self, state: ModelStateChanged) -> bool:
        """Let a version answer for its model from now on; False (and an alarm) if its files cannot be trusted."""
        old = self._champions.get(state.model)
        if old and old.version == state.version:
            return True
        start = time.perf_counter()
        try:
            self._load(state)
        except Exception as error:  # whatever is wrong with the new one, the old one and the news must go on
            reason = str(error) if isinstance(error, LearnbackError) else type(error).__name__
            SWAP_FAILED.labels(state.model).inc()
            log.error("swap_refused", model=state.model, version=state.version, reason=reason)
            return False
        crash_point("predictor.before_swap")
        self._champions[state.model] = state
        if old:
            self._tasks[old.task, old.base].drop(old.version)
            ADAPTER_INFO.remove(old.model, old.version)
        ADAPTER_INFO.labels(state.model, state.version).set(1)
        SWAP_SECONDS.labels(state.model).observe(time.perf_counter() - start)
        log.info("swapped", model=state.model, version=state.version, seconds=round(time.perf_counter() - start, 3))
        return True

    def answer(self, model: str, inputs: Sequence[str], top_k: int) -> list[Answer]:
        """Answers of the model's champion.

        Raises:
            UnknownModelError: the model has none.
        """
        champion = self._champions.get(model)
        if champion is None:
            raise UnknownModelError(model)
        answers = self._tasks[champion.task, champion.base].answer(champion.version, inputs, top_k)
        return [Answer(model, champion.version, one.output, one.scores) for one in answers]

    def _load(self, state: ModelStateChanged) -> None:
        folder, _ = self._artifacts.get(f"versions/{state.version}", state.manifest_sha256)
        crash_point("predictor.after_download")
        kind = state.task, state.base
        if kind not in self._tasks:
            self._tasks[kind] = loading.task(*kind, self._threads)
        self._tasks[kind].load(state.version, folder)
