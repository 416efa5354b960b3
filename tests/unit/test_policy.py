"""`learnback.toml` means what it says, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.policy import Policy, read_policy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learnback.toml"


def test_no_file_is_the_defaults(path: Path) -> None:
    assert read_policy(path).of("any") == Policy()


def test_a_model_has_its_own_over_the_defaults(path: Path) -> None:
    path.write_text(
        "[defaults.gate]\nalpha = 0.01\ndelta = 0.05\n[models.support-intent.gate]\nalpha = 0.1\n"
        "[models.support-intent.training]\nrank = 8\n"
    )
    policy = read_policy(path)
    assert policy.of("support-intent").gate.alpha == 0.1
    assert policy.of("support-intent").gate.delta == 0.05
    assert policy.of("support-intent").training.rank == 8
    assert policy.of("other").gate.alpha == 0.01
    assert policy.of("other").training.rank == Policy().training.rank


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[defaults.gate]\n\nalpha = 2\n", ":3: defaults.gate.alpha: Input should be less than or equal to 1"),
        ("# hi\n[defaults.gate]\nalfa = 0.1\n", ":3: defaults.gate.alfa: Extra inputs are not permitted"),
        ("[defaults.gates]\nalpha = 0.1\n", ":1: defaults.gates: Extra inputs are not permitted"),
        ("[models.x.trust]\nquorum = 'two'\n", ":2: models.x.trust.quorum: Input should be a valid integer"),
        ("[defaults]\ngate = 3\n", ":2: defaults.gate: Input should be a valid dictionary"),
        ("[defaults.gate\n", " is not TOML: "),
    ],
)
def test_a_mistake_is_told_with_line_name_and_reason(path: Path, text: str, sentence: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        read_policy(path)
    assert str(told.value).startswith(f"{path}{sentence}")
    assert str(told.value).count("\n") == 0
