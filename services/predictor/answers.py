"""Questions to models and what their versions answer: several together, and each alone when that fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.events import LabelScore, ModelStateChanged
from shared.errors import UnknownModelError
from shared.lm.task import Answer as TaskAnswer
from shared.lm.task import Asked

if TYPE_CHECKING:
    from shared.lm.decoding import Decoding, Speech
    from shared.lm.task import Task

Kind = tuple[str, str]  # a task and a base


@dataclass(frozen=True)
class Question:
    """One input for a model, and who asks: a user's pseudonym, or the prediction's id where nobody is named."""

    model: str
    subject: str
    input: str
    top_k: int = 1
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """Questions, and the state under which each is answered; None where nobody knows its model."""

    questions: Sequence[Question]
    states: Sequence[ModelStateChanged | None]


@dataclass(frozen=True)
class Answer:
    """What one version says to one input; classification tells its belief in the first labels, highest first."""

    model: str
    version: str
    output: str
    scores: tuple[LabelScore, ...] = ()


@dataclass(frozen=True)
class Talk:
    """An answer in the making, the version that makes it, and with which others it is computed."""

    model: str
    version: str
    speech: Speech
    decoding: Decoding

    @property
    def answer(self) -> Answer:
        """What it is so far."""
        return Answer(self.model, self.version, self.speech.text)


def answers(taken: Taken, tasks: Mapping[Kind, Task]) -> list[Answer | Exception]:
    """What the versions say, in as few forwards as their bases allow.

    What fails, fails alone: a model that is unknown, a version that overflows, a kernel that gives up.
    """
    by_kind: defaultdict[Kind, list[tuple[int, Question, Asked]]] = defaultdict(list)
    found: dict[int, Answer | Exception] = {}
    for row, (question, state) in enumerate(zip(taken.questions, taken.states, strict=True)):
        if state:
            by_kind[state.task, state.base].append((row, question, asked_of(state, question)))
        else:
            found[row] = UnknownModelError(question.model)
    for kind, rows in by_kind.items():
        told = _together(tasks[kind], [asked for _, _, asked in rows])
        for (row, question, asked), said in zip(rows, told, strict=True):
            found[row] = said if isinstance(said, Exception) else _answer(asked, question, said)
    return [found[row] for row in range(len(taken.questions))]


def asked_of(state: ModelStateChanged, question: Question) -> Asked:
    """What the version of a state is asked."""
    return Asked(state.version, question.input, question.top_k, question.max_tokens, question.stops)


def _answer(asked: Asked, question: Question, said: TaskAnswer) -> Answer:
    return Answer(question.model, asked.version, said.output, said.scores)


def _together(task: Task, asked: Sequence[Asked]) -> list[TaskAnswer | Exception]:
    """What versions say together; when that fails, each version by itself, so that one fails alone."""
    try:
        return [*task.answer_each(asked)]
    except Exception as error:
        versions = list(dict.fromkeys(one.version for one in asked))
        if len(versions) == 1:
            return [error] * len(asked)
    found: dict[int, TaskAnswer | Exception] = {}
    for version in versions:
        rows = [row for row, one in enumerate(asked) if one.version == version]
        found.update(zip(rows, _together(task, [asked[row] for row in rows]), strict=True))
    return [found[row] for row in range(len(asked))]
