"""Questions to models and what their versions answer: several together, and each alone when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.events import LabelScore, ModelStateChanged
from shared.lm.task import Answer as TaskAnswer
from shared.lm.task import Asked

if TYPE_CHECKING:
    from shared.lm.decoding import Decoding
    from shared.lm.task import Task


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
class Answer:
    """What one version says to one input; classification tells its belief in the first labels, highest first."""

    model: str
    version: str
    output: str
    scores: tuple[LabelScore, ...] = ()


@dataclass(frozen=True)
class Talk:
    """An answer in the making, and the version that makes it."""

    model: str
    version: str
    decoding: Decoding


def asked_of(state: ModelStateChanged | None, question: Question) -> Asked:
    """What the version of a state is asked."""
    assert state, "rows without a state were told apart"
    return Asked(state.version, question.input, question.top_k, question.max_tokens, question.stops)


def told_together(task: Task, asked: Sequence[Asked]) -> list[TaskAnswer | Exception]:
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
        found.update(zip(rows, told_together(task, [asked[row] for row in rows]), strict=True))
    return [found[row] for row in range(len(asked))]


def answer_of(question: Question, asked: Asked, told: TaskAnswer) -> Answer:
    """What a version told, as the answer to a question."""
    return Answer(question.model, asked.version, told.output, told.scores)
