"""What an overlay makes, as the checks ask for it: objects, workloads with their settings, and pods."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.tools import KUSTOMIZE, installed

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "k8s" / "overlays"
NAMES = tuple(sorted(path.name for path in OVERLAYS.iterdir()))
NAME = "app.kubernetes.io/name"
OURS = "learnback/"  # in the image of what this repository builds
CONSOLE = "console"  # for people: no service, and no probes

Object = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet. Each of ours has one container."""

    name: str
    kind: str
    spec: Object

    @property
    def labels(self) -> dict[str, str]:
        """Those of its pods."""
        labels: dict[str, str] = self.spec["template"]["metadata"]["labels"]
        return labels

    @property
    def pod(self) -> Object:
        """Its pods' spec."""
        pod: Object = self.spec["template"]["spec"]
        return pod

    @property
    def container(self) -> Object:
        """The container."""
        (container,) = self.pod["containers"]
        return dict(container)

    @property
    def ours(self) -> bool:
        """Whether this repository builds its image."""
        return OURS in self.container["image"]

    @property
    def service(self) -> str:
        """The service that it runs, as its image tells."""
        return re.split("[:@]", self.container["image"].rpartition("/")[2])[0]


@dataclass(frozen=True)
class Manifests:
    """Everything of one overlay."""

    objects: list[Object]

    def of(self, *kinds: str) -> Iterator[Object]:
        """Objects of some kinds."""
        return (one for one in self.objects if one["kind"] in kinds)

    def named(self, kind: str, name: str) -> Object | None:
        """One object."""
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def workloads(self) -> list[Workload]:
        """All of them."""
        return [
            Workload(one["metadata"]["name"], one["kind"], one["spec"]) for one in self.of("Deployment", "StatefulSet")
        ]

    def services(self) -> list[Workload]:
        """Those that run one of our services."""
        return [one for one in self.workloads() if one.ours and one.name != CONSOLE]

    def workload(self, name: str) -> Workload:
        """One of them."""
        return next(one for one in self.workloads() if one.name == name)

    def settings(self, workload: Workload) -> dict[str, str]:
        """The variables that its container is given, before what its image says."""
        found: dict[str, str] = {}
        for source in workload.container.get("envFrom", ()):
            settings = self.named("ConfigMap", source["configMapRef"]["name"])
            found |= (settings or {}).get("data", {})
        for one in workload.container.get("env", ()):
            found[one["name"]] = one.get("value", f"{workload.name}-0")  # else the name of its pod
        return found

    def pods(self) -> list[Object]:
        """A pod of each workload, and of what Strimzi makes as it is told to."""
        pods = [{"metadata": {"name": one.name, "labels": one.labels}, "spec": one.pod} for one in self.workloads()]
        pods += [
            _strimzi(one["metadata"]["name"], one["spec"]["template"], "kafkaContainer")
            for one in self.of("KafkaNodePool")
        ]
        pods += [
            _strimzi("topic-operator", one["spec"]["entityOperator"]["template"], "topicOperatorContainer")
            for one in self.of("Kafka")
        ]
        return pods

    def ports(self, workload: Workload) -> dict[str, int]:
        """The named ports of its container."""
        return {port["name"]: port["containerPort"] for port in workload.container.get("ports", ())}

    def mounted(self, workload: Workload) -> dict[str, tuple[str, str, str]]:
        """The files that it is given: path → kind, name and key of where they come from."""
        volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", ())}
        return {
            f"{mount['mountPath']}/{path}": origin
            for mount in workload.container.get("volumeMounts", ())
            for path, origin in self._files(volumes.get(mount["name"], {}))
        }

    def _files(self, volume: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str, str]]]:
        sources = list(volume.get("projected", {}).get("sources", ()))
        if secret := volume.get("secret"):
            sources.append({"secret": {**secret, "name": secret["secretName"]}})
        for source in sources:
            for item in source["secret"].get("items", ()):
                yield item["path"], ("Secret", source["secret"]["name"], item["key"])
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            for key in (self.named("ConfigMap", name) or {}).get("data", {}):
                yield key, ("ConfigMap", name, key)


def _strimzi(name: str, template: Object, container: str) -> Object:
    """The part of Strimzi's pod that is ours to say."""
    return {
        "metadata": {"name": name},
        "spec": {
            **template.get("pod", {}),
            "containers": [{"name": name, "image": name, **template.get(container, {})}],
        },
    }


def built(overlay: str) -> Manifests:
    """What `kubectl apply -k` would send."""
    command = [str(installed(KUSTOMIZE)), "build", str(OVERLAYS / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Manifests([one for one in yaml.safe_load_all(done.stdout) if one])
