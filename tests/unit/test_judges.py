"""A judge of the operator's own: named in the policy, found at the start, asked for every answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.evaluator.judges import Judges, read_judges
from services.evaluator.rows import Row
from services.evaluator.scoring import Scorer
from shared.artifacts import ArtifactStore
from shared.errors import ConfigError, FatalError
from shared.lm import loading
from shared.lm.task import Answer
from shared.policy import Gate, Policy, PolicyFile
from tests.unit.recorder_story import MODEL, trained

HERE = __name__
ROWS = [
    Row(f"e{n}", text, target, None) for n, (text, target) in enumerate([("one", "ONE"), ("two", "two"), ("x", "y")])
]


def in_any_case(input_: str, output: str, target: str) -> bool:
    return output.lower() == target.lower() and input_ != ""


def share_of_words(_input: str, output: str, target: str) -> float:
    return len({*output.lower()} & {*target.lower()}) / len({*output.lower()} | {*target.lower()})


def beyond(_input: str, _output: str, _target: str) -> float:
    return 7.0


def broken(_input: str, output: str, _target: str) -> bool:
    raise ValueError(output)


class Echo:
    """A task that says what it hears, and knows equality alone."""

    def load(self, version: str, folder: Path) -> None:
        pass

    def answer(self, version: str, inputs: Sequence[str], top_k: int = 1) -> list[Answer]:
        return [Answer(text) for text in inputs]

    def right(self, version: str, inputs: Sequence[str], targets: Sequence[str]) -> list[bool]:
        return [text == target for text, target in zip(inputs, targets, strict=True)]


def policies(judge: str | None, of: str = MODEL) -> PolicyFile:
    return PolicyFile(models={of: Policy(gate=Gate(judge=judge))})


def right(judges: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    """What is called right of ROWS with the judge of MODEL."""
    store, files = ArtifactStore(f"file://{tmp_path}/store"), tmp_path / "files"
    files.mkdir()
    (files / "weights").touch()
    store.put("versions/v1", files, {})
    digest = store.digest("versions/v1")

    def echo(*_: Any) -> Echo:
        return Echo()

    monkeypatch.setattr(loading, "task", echo)
    scorer = Scorer(store, judges=judges)
    scorer.load(trained("v1").model_copy(update={"manifest_sha256": digest}))
    return scorer.right("v1", ROWS)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (policies(None), (False, True, False)),
        (policies(f"{HERE}:in_any_case"), (True, True, False)),
        (policies(f"{HERE}:in_any_case", of="another"), (False, True, False)),
        (policies(f"{HERE}:share_of_words"), (1.0, 1.0, 0.0)),
    ],
)
def test_each_model_is_judged_as_its_policy_says(
    named: PolicyFile, expected: tuple[bool, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert right(read_judges(named), tmp_path, monkeypatch) == expected


@pytest.mark.parametrize("name", ["no.such:function", f"{HERE}:nothing", f"{HERE}:ROWS"])
def test_a_judge_that_is_not_there_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=f"gate.judge: {name}"):
        read_judges(policies(name))


def test_a_name_that_is_none_is_told_with_the_policy() -> None:
    with pytest.raises(ValueError, match="judge"):
        Gate(judge="just_a_module")


def test_a_judge_that_fails_stops_the_evaluator_and_tells_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FatalError, match=r"broken failed \(ValueError\)") as failed:
        right(read_judges(policies(f"{HERE}:broken")), tmp_path, monkeypatch)
    assert "one" not in str(failed.value)


def test_a_judge_whose_score_is_no_share_stops_the_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FatalError, match="not from 0 to 1"):
        right(read_judges(policies(f"{HERE}:beyond")), tmp_path, monkeypatch)
