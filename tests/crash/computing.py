"""Stories of the services that compute: trainer, evaluator, predictor."""

from __future__ import annotations

import contextlib

import httpx

from schemas.events import CandidateTrained, ModelStateChanged, PredictionServed, VerdictReached
from shared.identity import Keyring, create_secret, read_secret
from shared.policy import PolicyFile
from shared.tables import StateChange, Verdict, Version
from shared.topics import PREDICTIONS
from tests.crash.scene import Scene, until
from tests.kafka.evaluators import candidate
from tests.kafka.evaluators import first as first_version
from tests.kafka.models_topic import publish
from tests.kafka.stage import card, staged
from tests.kafka.test_aggregator import Reader
from tests.kafka.trainers import ANCHORS, POLICIES, ask, told, unfinished
from tests.weights import MODEL, ROWS, make_version


def a_request_makes_one_version(scene: Scene, point: str) -> None:
    """The request is answered by one version, whose files are whole, and nothing unfinished is left."""
    with staged(scene.bus, scene.folder, POLICIES) as stage:
        request = card(stage, ROWS, ANCHORS)
        ask(stage, request)
        with scene.dying(point):
            pass
        with scene.running("trainer"):
            until(lambda: told(stage, request.request_id)[-1:] == ["finished"], "the request is finished")
        announced = stage.of(CandidateTrained)
        stage.database.record(*announced)
        assert len({event.event_id for event in announced}) == 1
        [row] = stage.database.rows(Version)
        stage.artifacts.get(f"versions/{row.version}", row.manifest_sha256)
        assert [path.name for path in (scene.folder / "artifacts/versions").iterdir()] == [row.version]
        assert list(unfinished(stage).iterdir()) == []


def a_candidate_gets_one_verdict_and_serves(scene: Scene, point: str) -> None:
    """A model's first version: one verdict, and one promotion by it."""
    with staged(scene.bus, scene.folder, PolicyFile()) as stage:
        version = first_version(stage)
        stage.database.record(candidate(version))
        with scene.dying(point):
            stage.publish(candidate(version))
        with scene.running("evaluator"):
            until(lambda: stage.of(ModelStateChanged), "the version serves")
            until(lambda: scene.answers("evaluator"), "the evaluator is ready again")
        verdicts, states = stage.of(VerdictReached), stage.of(ModelStateChanged)
        stage.database.record(*verdicts, *states)
        assert [(row.candidate, row.outcome) for row in stage.database.rows(Verdict)] == [(version.id, "promote")]
        [state] = stage.database.rows(StateChange)
        assert (state.version, state.decision) == (version.id, verdicts[0].event_id)


def a_champion_answers(scene: Scene, point: str) -> None:
    """The champion answers after all, and each answer is one prediction."""
    create_secret(scene.folder / "secret")
    key = Keyring(scene.folder / "keys.json", read_secret(scene.folder / "secret")).create("shop")
    with staged(scene.bus, scene.folder, PolicyFile()) as stage:
        version = make_version(stage.artifacts, ROWS)
    publish(scene.bus, version.champion())
    with scene.dying(point):
        pass
    with scene.running("predictor"), contextlib.closing(Reader(scene.bus, PREDICTIONS)) as reader:
        until(lambda: scene.answers("predictor"), "the predictor is ready again")
        body = {"model": MODEL, "input": "where is my parcel", "prediction_id": "p1"}
        url = f"{scene.url('predictor')}/v1/predict"
        answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=20)
        assert (answer.status_code, answer.json()["version"]) == (200, version.id)
        until(reader.events, "the prediction is on its topic")
        [served] = reader.events()
        assert isinstance(served, PredictionServed)
        assert (served.prediction_id, served.version) == ("p1", version.id)
