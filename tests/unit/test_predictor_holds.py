"""Versions in memory: whatever is switched while batches compute, each ends with its own, and nobody else's stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ModelStateChanged
from services.predictor.answers import Answer, Question, Taken
from services.predictor.serving import Serving
from shared.errors import ArtifactError, UnavailableError
from shared.lm.task import Answer as TaskAnswer
from shared.lm.task import Asked
from tests.unit.events import EXAMPLES

MODELS, VERSIONS = ("parcels", "refunds"), ("v1", "v2", "v3", "torn", "away")


class Store:
    """Folders that are named as their versions."""

    def get(self, key: str, _digest: str) -> tuple[Path, None]:
        if key.endswith("away"):
            raise UnavailableError("The store is away.")
        return Path(key), None


class Names:
    """A task whose versions answer with their own names, as long as they are in memory."""

    def __init__(self) -> None:
        self.versions: set[str] = set()

    def load(self, version: str, _folder: Path) -> None:
        if version == "torn":
            raise ArtifactError("It is torn.")
        self.versions.add(version)

    def drop(self, version: str) -> None:
        self.versions.discard(version)

    def answer_each(self, asked: Sequence[Asked]) -> list[TaskAnswer]:
        assert {one.version for one in asked} <= self.versions
        return [TaskAnswer(one.version) for one in asked]


def house() -> tuple[Serving, Names]:
    store: Any = Store()
    serving, names = Serving(store), Names()
    tasks: dict[Any, Any] = serving._tasks
    tasks["classification", "any"] = names
    return serving, names


def state(model: str, alias: str, version: str, share: float = 0.0) -> ModelStateChanged:
    [example] = [event for event in EXAMPLES if isinstance(event, ModelStateChanged)]
    told = {"model": model, "alias": alias, "version": version, "base": "any", "share": share}
    return example.model_copy(update=told)


SWITCH = st.builds(
    state,
    st.sampled_from(MODELS),
    st.sampled_from(("champion", "canary")),
    st.sampled_from(VERSIONS),
    st.sampled_from((0.0, 0.5)),
)
BEGIN = st.lists(st.builds(Question, st.sampled_from(MODELS), st.text("abcd", min_size=1), st.just("?")), max_size=4)
END = st.integers(0, 3)  # which of the batches in hand


@given(st.lists(st.one_of(SWITCH, BEGIN, END), max_size=40))
def test_each_batch_ends_with_the_versions_it_began_with_and_no_others_stay(steps: list[Any]) -> None:
    serving, names = house()
    in_hand: list[tuple[Taken, list[str | None]]] = []
    told: dict[tuple[str, str], ModelStateChanged] = {}
    for step in [*steps, *[0] * len(steps)]:
        if isinstance(step, ModelStateChanged):
            try:
                if serving.serve(step):
                    told[step.model, step.alias] = step
            except UnavailableError:
                assert step.version == "away"
        elif isinstance(step, list):
            in_hand.append((serving.take(step), [_expected(serving, told, one) for one in step]))
        elif in_hand:
            taken, expected = in_hand.pop(step % len(in_hand))
            said = [one.version if isinstance(one, Answer) else None for one in serving.answer(taken)]
            assert said == expected
        named = {one.version for one in told.values() if one.alias == "champion" or one.share}
        assert names.versions == named | {one for _, versions in in_hand for one in versions if one}


def _expected(serving: Serving, told: dict[tuple[str, str], ModelStateChanged], question: Question) -> str | None:
    on_trial = serving.is_on_trial(question.model, question.subject)
    found = told.get((question.model, "canary" if on_trial else "champion"))
    return found.version if found else None


def test_a_version_that_comes_back_while_it_goes_stays() -> None:
    serving, names = house()
    assert serving.serve(state("parcels", "champion", "v1"))
    batch = serving.take([Question("parcels", "ann", "?")])
    assert serving.serve(state("parcels", "champion", "v2"))
    ready = serving.prepare(state("parcels", "champion", "v1"))  # it is in memory still, for the batch's sake
    serving.answer(batch)
    assert ready
    serving.switch(ready)
    assert names.versions == {"v1"}
    [answer] = serving.answer(serving.take([Question("parcels", "ann", "?")]))
    assert isinstance(answer, Answer)
    assert answer.version == "v1"
