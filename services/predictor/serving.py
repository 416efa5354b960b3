"""The models in memory and which version of each answers.

A version is loaded, checked and warmed up beside those that answer; one that cannot be trusted leaves the old one
serving. The switch is an exchange of names on the thread that computes, so it falls between two batches.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge, Histogram

from schemas.events import ModelStateChanged
from services.predictor.answers import Answer, Question, Talk, answer_of, asked_of, told_together
from services.predictor.refusals import Refusals
from services.predictor.routing import takes_canary
from shared.artifacts import ArtifactStore
from shared.crash import crash_point
from shared.errors import UnavailableError, UnknownModelError
from shared.lm import loading
from shared.lm.task import Asked, Talking

if TYPE_CHECKING:
    from services.predictor.deployer import Deployer
    from shared.lm.task import Task

Kind = tuple[str, str]  # a task and a base

SWAP_SECONDS = Histogram(
    "learnback_swap_seconds", "From the news of a champion or canary to its first answer", ["model"]
)
ADAPTER_INFO = Gauge("learnback_adapter_info", "1 for each version that answers", ["model", "version"])

log = structlog.get_logger()


@dataclass(frozen=True)
class Ready:
    """A version that is loaded, checked and warm, and when its news came (by the performance counter)."""

    state: ModelStateChanged
    since: float


class Serving:
    """Champions and canaries in memory: one base model each, shared by all models and versions on it.

    The versions of some bases are on servers of their own, and not in memory: the deployers' ones.
    """

    def __init__(
        self, artifacts: ArtifactStore, threads: int = 0, deployers: Mapping[Kind, Deployer] | None = None
    ) -> None:
        """Start empty; model states bring bases and versions. They compute on so many cores; 0 are all."""
        self._artifacts = artifacts
        self._threads = threads
        self.deployers = dict(deployers or {})
        self._tasks: dict[Kind, Task] = {}
        self._champions: dict[str, ModelStateChanged] = {}
        self._canaries: dict[str, ModelStateChanged] = {}
        self._refusals = Refusals()

    @property
    def champions(self) -> dict[str, ModelStateChanged]:
        """The state that each model serves under."""
        return dict(self._champions)

    def refused(self, model: str) -> str | None:
        """The version that a model should serve and cannot, as its files cannot be trusted; the champion's first."""
        return self._refusals.of(model)

    def is_on_trial(self, model: str, subject: str) -> bool:
        """Whether the model's canary answers this subject: a user's pseudonym, or a prediction's id."""
        canary = self._canaries.get(model)
        return canary is not None and takes_canary(canary.version, subject, canary.share)

    def serve(self, state: ModelStateChanged) -> bool:
        """Prepare and switch at once, where nobody else computes."""
        ready = self.prepare(state)
        if ready:
            self.switch(ready)
        return ready is not None

    def prepare(self, state: ModelStateChanged) -> Ready | None:
        """Load, check and warm a version up while others answer; None (and an alarm) if its files cannot be trusted.

        Raises:
            UnavailableError: its server or the artifact store does not answer; try again later.
        """
        since = time.perf_counter()
        try:
            if not _is_over(state):
                self._load(state)
        except UnavailableError:
            raise
        except Exception as error:  # whatever is wrong with the new one, the old one and the news must go on
            self._refusals.add(state, error)
            return None
        self._refusals.clear(state)
        crash_point("predictor.before_swap")
        return Ready(state, since)

    def switch(self, ready: Ready) -> None:
        """Let a version that is ready answer under its alias from now on: between two batches."""
        state = ready.state
        named = self._champions if state.alias == "champion" else self._canaries
        old = named.pop(state.model, None)
        if not _is_over(state):
            named[state.model] = state
            ADAPTER_INFO.labels(state.model, state.version).set(1)
        if old and (old.version != state.version or _is_over(state)):
            self._let_go(old)
        if old is None or old.version != state.version:
            seconds = time.perf_counter() - ready.since
            SWAP_SECONDS.labels(state.model).observe(seconds)
            log.info("swapped", model=state.model, version=state.version, alias=state.alias, seconds=round(seconds, 3))

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """Answers of the models' champions and canaries, in as few forwards as their bases allow.

        What fails, fails alone: a model that is unknown, a version that overflows, a kernel that gives up.
        """
        states = [self._state(one) for one in questions]
        found: dict[int, Answer | Exception] = {
            row: UnknownModelError(questions[row].model) for row, state in enumerate(states) if state is None
        }
        by_kind: defaultdict[Kind, list[int]] = defaultdict(list)
        for row, state in enumerate(states):
            if state:
                by_kind[state.task, state.base].append(row)
        for kind, rows in by_kind.items():
            asked = [asked_of(states[row], questions[row]) for row in rows]
            for row, one, told in zip(rows, asked, told_together(self._tasks[kind], asked), strict=True):
                found[row] = told if isinstance(told, Exception) else answer_of(questions[row], one, told)
        return [found[row] for row in range(len(questions))]

    def talks(self, model: str) -> bool:
        """Whether a model's answers are texts, which can be told while they are made."""
        state = self._champions.get(model)
        return state is not None and (
            (state.task, state.base) in self.deployers or isinstance(self._home(state), Talking)
        )

    def deployed(self, question: Question) -> tuple[Deployer, Asked] | None:
        """Who is asked, and what, when the version that answers now is on a server of its own."""
        state = self._state(question)
        deployer = self.deployers.get((state.task, state.base)) if state else None
        return (deployer, asked_of(state, question)) if deployer else None

    def begin(self, question: Question) -> Talk:
        """An answer in the making, by the version that answers now; it keeps that one to its end.

        Raises:
            UnknownModelError: the model has no champion.
        """
        state = self._state(question)
        if state is None:
            raise UnknownModelError(question.model)
        task = self._tasks[state.task, state.base]
        assert isinstance(task, Talking), "only those are begun"
        return Talk(question.model, state.version, task.begin([asked_of(state, question)]))

    def _state(self, question: Question) -> ModelStateChanged | None:
        """Who answers a question, in the moment in which it is answered."""
        on_trial = self.is_on_trial(question.model, question.subject)
        return (self._canaries if on_trial else self._champions).get(question.model)

    def _let_go(self, old: ModelStateChanged) -> None:
        """Forget a version that an alias does not name any more, unless another does."""
        serving = (*self._champions.values(), *self._canaries.values())
        if all((one.model, one.version) != (old.model, old.version) for one in serving):
            ADAPTER_INFO.remove(old.model, old.version)
        if all(one.version != old.version for one in serving):
            self._home(old).drop(old.version)

    def _home(self, state: ModelStateChanged) -> Task | Deployer:
        """Where a version that serves is."""
        return self.deployers.get((state.task, state.base)) or self._tasks[state.task, state.base]

    def _load(self, state: ModelStateChanged) -> None:
        kind = state.task, state.base
        known = self.deployers.get(kind) or self._tasks.get(kind)
        if known and state.version in known.versions:
            return  # it answers already, under another alias or for other users
        folder, _ = self._artifacts.get(f"versions/{state.version}", state.manifest_sha256)
        crash_point("predictor.after_download")
        if known is None:
            known = self._tasks[kind] = loading.task(*kind, self._threads)
        known.load(state.version, folder)


def _is_over(state: ModelStateChanged) -> bool:
    """Whether the news are that a canary's trial has ended."""
    return state.alias == "canary" and not state.share
