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
from services.predictor.routing import takes_canary
from shared.artifacts import ArtifactStore
from shared.crash import crash_point
from shared.errors import LearnbackError, UnknownModelError
from shared.lm import loading

if TYPE_CHECKING:
    from shared.lm.task import Task

SWAP_SECONDS = Histogram(
    "learnback_swap_seconds", "From the news of a champion or canary to its first answer", ["model"]
)
SWAP_FAILED = Counter("learnback_swap_failed_total", "Champions and canaries that could not be loaded", ["model"])
ADAPTER_INFO = Gauge("learnback_adapter_info", "1 for each version that answers", ["model", "version"])

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """What one version says to one input; classification tells its belief in the first labels, highest first."""

    model: str
    version: str
    output: str
    scores: tuple[LabelScore, ...] = ()


class Serving:
    """Champions and canaries in memory: one base model each, shared by all versions on it."""

    def __init__(self, artifacts: ArtifactStore, threads: int = 0) -> None:
        """Start empty; model states bring bases and versions. They compute on so many cores; 0 are all."""
        self._artifacts = artifacts
        self._threads = threads
        self._tasks: dict[tuple[str, str], Task] = {}
        self._champions: dict[str, ModelStateChanged] = {}
        self._canaries: dict[str, ModelStateChanged] = {}

    @property
    def champions(self) -> dict[str, ModelStateChanged]:
        """The state that each model serves under."""
        return dict(self._champions)

    def is_on_trial(self, model: str, subject: str) -> bool:
        """Whether the model's canary answers this subject: a user's pseudonym, or a prediction's id."""
        canary = self._canaries.get(model)
        return canary is not None and takes_canary(canary.version, subject, canary.share)

    def serve(self, state: ModelStateChanged) -> bool:
        """Let a version answer under its alias from now on; False (and an alarm) if its files cannot be trusted."""
        named = self._champions if state.alias == "champion" else self._canaries
        old = named.get(state.model)
        if state.alias == "canary" and not state.share:
            if old:
                self._let_go(named.pop(state.model))
            return True
        if old and old.version == state.version:
            named[state.model] = state
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
        named[state.model] = state
        if old:
            self._let_go(old)
        ADAPTER_INFO.labels(state.model, state.version).set(1)
        SWAP_SECONDS.labels(state.model).observe(time.perf_counter() - start)
        log.info("swapped", model=state.model, version=state.version, seconds=round(time.perf_counter() - start, 3))
        return True

    def answer(self, model: str, inputs: Sequence[str], top_k: int, on_trial: bool = False) -> list[Answer]:
        """Answers of the model's champion; `on_trial`, of its canary, unless the trial has ended meanwhile.

        Raises:
            UnknownModelError: the model has none.
        """
        state = (self._canaries.get(model) if on_trial else None) or self._champions.get(model)
        if state is None:
            raise UnknownModelError(model)
        answers = self._tasks[state.task, state.base].answer(state.version, inputs, top_k)
        return [Answer(model, state.version, one.output, one.scores) for one in answers]

    def _let_go(self, old: ModelStateChanged) -> None:
        """Forget a version that an alias does not name any more, unless another does."""
        serving = (*self._champions.values(), *self._canaries.values())
        if all((one.model, one.version) != (old.model, old.version) for one in serving):
            ADAPTER_INFO.remove(old.model, old.version)
        if all(one.version != old.version for one in serving):
            self._tasks[old.task, old.base].drop(old.version)

    def _load(self, state: ModelStateChanged) -> None:
        folder, _ = self._artifacts.get(f"versions/{state.version}", state.manifest_sha256)
        crash_point("predictor.after_download")
        kind = state.task, state.base
        if kind not in self._tasks:
            self._tasks[kind] = loading.task(*kind, self._threads)
        self._tasks[kind].load(state.version, folder)
