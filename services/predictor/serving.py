"""The models in memory and which version of each answers.

A version is loaded, checked and warmed up beside those that answer; one that cannot be trusted leaves the old one
serving. The switch is an exchange of names on the event loop, where batches are taken too: so it falls between two of
them, waits for none, and a batch ends with the versions that it was taken with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge, Histogram

from schemas.events import ModelStateChanged
from services.predictor.answers import Answer, Kind, Question, Taken, Talk, answers, asked_of
from services.predictor.holds import Holds
from services.predictor.refusals import Refusals
from services.predictor.routing import Aliases, is_over
from shared.artifacts import ArtifactStore
from shared.crash import crash_point
from shared.errors import UnavailableError, UnknownModelError
from shared.lm import loading
from shared.lm.task import Asked, Talking

if TYPE_CHECKING:
    from services.predictor.deployer import Deployer
    from shared.lm.decoding import Decoding
    from shared.lm.task import Task

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
        self._aliases = Aliases()
        self._refusals = Refusals()
        self._holds = Holds(self._drop)

    @property
    def champions(self) -> dict[str, ModelStateChanged]:
        """The state that each model serves under."""
        return dict(self._aliases.champions)

    def refused(self, model: str) -> str | None:
        """The version that a model should serve and cannot, as its files cannot be trusted; the champion's first."""
        return self._refusals.of(model)

    def is_on_trial(self, model: str, subject: str) -> bool:
        """Whether the model's canary answers this subject: a user's pseudonym, or a prediction's id."""
        return self._aliases.is_on_trial(model, subject)

    def serve(self, state: ModelStateChanged) -> bool:
        """Prepare and switch at once, where nobody else computes."""
        ready = self.prepare(state)
        if ready:
            self.switch(ready)
        return ready is not None

    def prepare(self, state: ModelStateChanged) -> Ready | None:
        """Load, check and warm a version up while others answer; None (and an alarm) if its files cannot be trusted.

        What is ready must be switched to: until then it is held for that.

        Raises:
            UnavailableError: its server or the artifact store does not answer; try again later.
        """
        since = time.perf_counter()
        if not is_over(state):
            self._holds.take(state)
            try:
                self._load(state)
            except UnavailableError:
                self._holds.give(state)
                raise
            except Exception as error:  # whatever is wrong with the new one, the old one and the news must go on
                self._holds.give(state)
                self._refusals.add(state, error)
                return None
        self._refusals.clear(state)
        crash_point("predictor.before_swap")
        return Ready(state, since)

    def switch(self, ready: Ready) -> None:
        """Let a version that is ready answer under its alias what is asked from now on."""
        state = ready.state
        old = self._aliases.exchange(state)
        if not is_over(state):
            ADAPTER_INFO.labels(state.model, state.version).set(1)
        if old:
            self._let_go(old)
        if old is None or old.version != state.version:
            seconds = time.perf_counter() - ready.since
            SWAP_SECONDS.labels(state.model).observe(seconds)
            log.info("swapped", model=state.model, version=state.version, alias=state.alias, seconds=round(seconds, 3))

    def take(self, questions: Sequence[Question]) -> Taken:
        """Who answers questions that are asked now; their versions stay in memory until they have begun or answered."""
        taken = Taken(questions, [self._aliases.state(one.model, one.subject) for one in questions])
        for state in filter(None, taken.states):
            self._holds.take(state)
        return taken

    def answer(self, taken: Taken) -> list[Answer | Exception]:
        """What the versions say; see `answers`. On any thread."""
        try:
            return answers(taken, self._tasks)
        finally:
            self._give(taken)

    def talks(self, model: str) -> bool:
        """Whether a model's answers are texts, which can be told while they are made."""
        state = self._aliases.champions.get(model)
        return state is not None and (
            (state.task, state.base) in self.deployers or isinstance(self._home(state), Talking)
        )

    def deployed(self, question: Question) -> tuple[Deployer, Asked] | None:
        """Who is asked, and what, when the version that answers now is on a server of its own."""
        state = self._aliases.state(question.model, question.subject)
        if state is None or (deployer := self.deployers.get((state.task, state.base))) is None:
            return None
        return deployer, asked_of(state, question)

    def begin(self, taken: Taken, decodings: dict[Kind, Decoding]) -> Talk:
        """The one answer in the making, beside others of its kind, which keeps its version to its end. On any thread.

        Raises:
            UnknownModelError: the model has no champion.
        """
        [question], [state] = taken.questions, taken.states
        try:
            if state is None:
                raise UnknownModelError(question.model)
            kind = state.task, state.base
            task = self._tasks[kind]
            assert isinstance(task, Talking), "only those are begun"
            decoding = decodings.setdefault(kind, task.decoding())
            [speech] = task.begin([asked_of(state, question)], decoding)
            return Talk(question.model, state.version, speech, decoding)
        finally:
            self._give(taken)

    def _let_go(self, old: ModelStateChanged) -> None:
        """An alias names a version no more."""
        if not self._aliases.name(old.model, old.version):
            ADAPTER_INFO.remove(old.model, old.version)
        self._holds.give(old)

    def _give(self, taken: Taken) -> None:
        for state in filter(None, taken.states):
            self._holds.give(state)

    def _drop(self, state: ModelStateChanged) -> None:
        """Forget a version that nobody needs."""
        if home := self._home(state):
            home.drop(state.version)

    def _home(self, state: ModelStateChanged) -> Task | Deployer | None:
        """Where a version is; None where its base could not be loaded."""
        kind = state.task, state.base
        return self.deployers.get(kind) or self._tasks.get(kind)

    def _load(self, state: ModelStateChanged) -> None:
        kind = state.task, state.base
        known = self._home(state)
        if known and state.version in known.versions:
            return  # it answers already, under another alias or for other users
        folder, _ = self._artifacts.get(f"versions/{state.version}", state.manifest_sha256)
        crash_point("predictor.after_download")
        if known is None:
            known = self._tasks[kind] = loading.task(*kind, self._threads)
        known.load(state.version, folder)
