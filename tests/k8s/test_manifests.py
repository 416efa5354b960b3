"""What `kubectl apply -k` would send of each overlay: valid, as restricted as it claims, and in tune with the code."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.documents import KAFKA_TOPICS, kafka_topics
from cli.secrets import secrets
from tests.k8s import network, running, verdicts, wiring
from tests.k8s.manifests import NAMES, Manifests, Object, built
from tests.k8s.tools import BUILD_S

pytestmark = pytest.mark.timeout(3 * BUILD_S)  # the first run builds the Go programs


@cache
def made(overlay: str) -> Manifests:
    return built(overlay)


@pytest.fixture(params=NAMES)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return made(request.param)


@pytest.fixture
def made_secrets(tmp_path: Path) -> list[Object]:
    (tmp_path / "s3_credentials").write_text("[default]\n", "utf-8")
    printed = CliRunner().invoke(secrets, [str(tmp_path)], catch_exceptions=False)
    items: list[Object] = json.loads(printed.output)["items"]
    return items


def test_every_object_follows_its_schema(manifests: Manifests) -> None:
    assert verdicts.invalid(manifests.objects) == []


def test_no_check_of_kube_score_is_critical(manifests: Manifests) -> None:
    assert verdicts.critical(manifests) == []


def test_pod_security_lets_every_pod_in(manifests: Manifests) -> None:
    assert verdicts.refused(manifests.pods()) == []


@pytest.mark.parametrize("check", [wiring.settings, wiring.ports, wiring.probed], ids=lambda check: check.__name__)
def test_containers_are_told_what_their_code_asks_for(manifests: Manifests, check: verdicts.Check) -> None:
    assert check(manifests) == []


@pytest.mark.parametrize(
    "check",
    [running.topics, running.images, running.drains, running.policies, running.texts, running.grants, running.tokens],
    ids=lambda check: check.__name__,
)
def test_what_runs_is_what_there_is(manifests: Manifests, check: verdicts.Check) -> None:
    assert check(manifests) == []


def test_files_come_from_secrets_that_the_command_makes(manifests: Manifests, made_secrets: list[Object]) -> None:
    assert wiring.files(manifests, made_secrets) == []
    assert verdicts.invalid(made_secrets) == []


def test_a_pod_reaches_what_it_must_and_nothing_else(manifests: Manifests) -> None:
    assert network.wrong(manifests) == []
    assert len(network.needed(manifests)) > len(manifests.services())


def test_the_topics_are_those_of_the_table() -> None:
    assert KAFKA_TOPICS.read_text("utf-8") == kafka_topics(), "run: make schemas"
