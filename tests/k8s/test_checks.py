"""Each check catches what it is there for: the production overlay with one thing broken at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.secrets import secrets
from tests.k8s import network, running, verdicts, wiring
from tests.k8s.manifests import Manifests, Object, built
from tests.k8s.tools import BUILD_S

pytestmark = pytest.mark.timeout(3 * BUILD_S)

Break = Callable[[Manifests], Any]


@pytest.fixture(scope="module")
def whole() -> Manifests:
    return built("production")


@pytest.fixture
def manifests(whole: Manifests) -> Manifests:
    return copy.deepcopy(whole)


def pod(manifests: Manifests, name: str) -> Object:
    """The pod spec of a workload, to be changed."""
    spec: Object = manifests.workload(name).spec["template"]["spec"]
    return spec


def container(manifests: Manifests, name: str) -> Object:
    """Its container, to be changed."""
    found: Object = pod(manifests, name)["containers"][0]
    return found


def spec(manifests: Manifests, kind: str, name: str) -> Object:
    """The spec of any object, to be changed."""
    found = manifests.named(kind, name)
    assert found
    inside: Object = found["spec"]
    return inside


def variable(manifests: Manifests, name: str, variable: str) -> Object:
    """A variable of a workload, to be changed."""
    return next(one for one in container(manifests, name)["env"] if one["name"] == variable)


BROKEN: list[tuple[verdicts.Check, Break, str]] = [
    (
        wiring.settings,
        lambda m: container(m, "recorder")["env"].append({"name": "LEARNBACK_RECORDER_BATCHES", "value": "1"}),
        "recorder: nothing reads LEARNBACK_RECORDER_BATCHES",
    ),
    (
        wiring.settings,
        lambda m: variable(m, "trainer", "LEARNBACK_TRAINER_THREADS").update(value="two"),
        "LEARNBACK_TRAINER_THREADS: Input should be a valid integer",
    ),
    (
        wiring.ports,
        lambda m: container(m, "predictor")["ports"][0].update(containerPort=8721),
        "predictor: listens on 8720",
    ),
    (
        wiring.ports,
        lambda m: variable(m, "collector", "LEARNBACK_COLLECTOR_HOST").update(value="127.0.0.1"),
        "collector: listens on 127.0.0.1 alone",
    ),
    (
        wiring.ports,
        lambda m: spec(m, "Service", "board")["selector"].update({"app.kubernetes.io/name": "bord"}),
        "Service board leads to 0 workloads",
    ),
    (wiring.probed, lambda m: container(m, "trainer").pop("livenessProbe"), "trainer: no livenessProbe"),
    (
        wiring.probed,
        lambda m: container(m, "aggregator")["readinessProbe"]["httpGet"].update(path="/healthz"),
        "aggregator: readinessProbe asks for /healthz",
    ),
    (
        wiring.probed,
        lambda m: container(m, "board")["readinessProbe"]["httpGet"].update(path="/readyz"),
        "board: readinessProbe asks for /readyz",
    ),
    (
        running.topics,
        lambda m: spec(m, "ScaledObject", "trainer")["triggers"][0]["metadata"].update(topic="learnback.requests.v1"),
        "trainer: there is no topic learnback.requests.v1",
    ),
    (
        running.topics,
        lambda m: spec(m, "ScaledObject", "recorder")["triggers"][0]["metadata"].update(consumerGroup="recorder"),
        "recorder: recorder is not its group",
    ),
    (
        running.topics,
        lambda m: spec(m, "ScaledObject", "aggregator").update(maxReplicaCount=7),
        "aggregator: more replicas than partitions",
    ),
    (
        running.images,
        lambda m: container(m, "board").update(image="learnback/dashboard:0.1.0"),
        "board: nothing here makes learnback/dashboard:0.1.0",
    ),
    (
        running.images,
        lambda m: container(m, "board").update(image="learnback/board:latest"),
        "board: learnback/board:latest has no release",
    ),
    (
        running.drains,
        lambda m: pod(m, "collector").update(terminationGracePeriodSeconds=30),
        "collector: killed before the 50 s",
    ),
    (running.drains, lambda m: container(m, "predictor").pop("lifecycle"), "predictor: ends while it is still asked"),
    (
        running.policies,
        lambda m: next(one for one in m.of("ConfigMap") if "learnback.toml" in one["data"])["data"].update(
            {"learnback.toml": "[defaults.gate]\nmode = 'lenient'\n"}
        ),
        "gate.mode",
    ),
    (
        running.grants,
        lambda m: spec(m, "Cluster", "learnback-database")["bootstrap"]["initdb"]["postInitApplicationSQL"].append(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO learnback_reader"
        ),
        "the database: its first statements are not those of roles.sql",
    ),
    (
        running.tokens,
        lambda m: pod(m, "evaluator").update(automountServiceAccountToken=True),
        "evaluator: automountServiceAccountToken is not false",
    ),
    (
        network.wrong,
        lambda m: spec(m, "NetworkPolicy", "predictor").update(egress=[]),
        "predictor cannot reach learnback-kafka-bootstrap:9092",
    ),
    (
        network.wrong,
        lambda m: spec(m, "NetworkPolicy", "database").update(ingress=[]),
        "board cannot reach learnback-database-rw:5432",
    ),
    (
        network.wrong,
        lambda m: variable(m, "board", "LEARNBACK_BOARD_COLLECTOR_URL").update(value="http://collectors:8710"),
        "board goes to collectors:8710, which is nowhere",
    ),
    (
        network.wrong,
        lambda m: spec(m, "NetworkPolicy", "collector")["egress"].append({}),
        "collector may reach all that is elsewhere, and does not",
    ),
    (
        network.wrong,
        lambda m: spec(m, "NetworkPolicy", "default-deny").update(podSelector={"matchLabels": {"nobody": "is"}}),
        "nothing is denied by default",
    ),
    (
        lambda m: verdicts.refused(m.pods()),
        lambda m: container(m, "trainer")["securityContext"].update(privileged=True),
        "trainer: privileged",
    ),
    (
        lambda m: verdicts.refused(m.pods()),
        lambda m: pod(m, "board")["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "board: restricted volume types",
    ),
    (
        lambda m: verdicts.refused(m.pods()),
        lambda m: spec(m, "KafkaNodePool", "nodes")["template"].pop("kafkaContainer"),
        "nodes: allowPrivilegeEscalation != false",
    ),
    (
        verdicts.critical,
        lambda m: container(m, "collector").pop("resources"),
        "[CRITICAL] collector/learnback apps/v1/StatefulSet: (collector) CPU limit is not set",
    ),
    (
        lambda m: verdicts.invalid(m.objects),
        lambda m: container(m, "board").update(imagePullPolice="Always"),
        "Deployment board",
    ),
    (
        lambda m: verdicts.invalid(m.objects),
        lambda m: spec(m, "Kafka", "learnback")["kafka"]["listeners"][0].update(networkPolicyPeer=[]),
        "'networkPolicyPeer' was unexpected",
    ),
    (
        lambda m: verdicts.invalid(m.objects),
        lambda m: spec(m, "Kafka", "learnback")["kafka"]["config"].update({"log.dirs": "/tmp"}),
        "Kafka learnback",
    ),
    (
        lambda m: verdicts.invalid(m.objects),
        lambda m: spec(m, "ScaledObject", "trainer")["triggers"][0]["metadata"].update(lagThreshold=1),
        "1 is not of type 'string'",
    ),
]


@pytest.mark.parametrize(("check", "broken", "said"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_what_is_broken_is_told(manifests: Manifests, check: verdicts.Check, broken: Break, said: str) -> None:
    broken(manifests)
    found = check(manifests)
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda m: container(m, "vllm").update(args=["--model=another"]), "vllm: does not serve HuggingFaceTB/SmolLM2"),
        (
            lambda m: variable(m, "predictor", "LEARNBACK_PREDICTOR_VLLM_SEES").update(value="/elsewhere"),
            "vllm: does not see what the predictor writes",
        ),
    ],
    ids=["another base", "another folder"],
)
def test_a_server_that_cannot_answer_is_told(broken: Break, said: str) -> None:
    manifests = built("gpu")
    assert running.texts(manifests) == []
    broken(manifests)
    assert any(said in line for line in running.texts(manifests))


def test_a_file_that_nobody_makes_is_told(manifests: Manifests, tmp_path: Path) -> None:
    (tmp_path / "s3_credentials").write_text("[default]\n", "utf-8")
    printed = CliRunner().invoke(secrets, [str(tmp_path)], catch_exceptions=False)
    made: list[Object] = json.loads(printed.output)["items"]
    (volume,) = (one for one in pod(manifests, "collector")["volumes"] if one["name"] == "secrets")
    volume["secret"]["items"][1]["key"] = "keys.yaml"
    spec(manifests, "Cluster", "learnback-database")["managed"]["roles"][0]["passwordSecret"]["name"] = "reader"
    pod(manifests, "board")["volumes"] = []
    found = wiring.files(manifests, made)
    assert "collector: /run/secrets/keys.json is of learnback-identity/keys.yaml, which nobody makes" in found
    assert "the database: no Secret reader" in found
    assert "board: LEARNBACK_BOARD_KEY_FILE names /run/secrets/board.key, and nothing is there" in found
