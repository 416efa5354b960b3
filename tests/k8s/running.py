"""Whether manifests run what there is, at the right size: topics and groups, images, the time to end, the policy.

Each check gives a sentence for each thing that is wrong.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import ConfigError
from shared.http.server import GRACE_S
from shared.kafka import ACK_TIMEOUT_S, Bus
from shared.policy import read_policy
from shared.topics import TOPICS
from tests.k8s.manifests import ROOT, Manifests, Workload
from tests.k8s.wiring import HTTP, code_of


def topics(manifests: Manifests) -> list[str]:
    """What scales by lag names topic and consumer group as the code does, and no more replicas than help."""
    bus, partitions = Bus("nowhere"), {f"learnback.{topic.name}": topic.partitions for topic in TOPICS}
    found = []
    for scaled in manifests.of("ScaledObject"):
        name, spec = scaled["metadata"]["name"], scaled["spec"]
        target = spec["scaleTargetRef"]
        if manifests.named(target.get("kind", "Deployment"), target["name"]) is None:
            found.append(f"{name}: there is no {target['name']} to scale")
            continue
        for trigger in spec["triggers"]:
            metadata = trigger["metadata"]
            if metadata["topic"] not in partitions:
                found.append(f"{name}: there is no topic {metadata['topic']}")
            elif spec["maxReplicaCount"] > partitions[metadata["topic"]]:
                found.append(f"{name}: more replicas than partitions of {metadata['topic']}")
            if metadata["consumerGroup"] != bus.group(manifests.workload(target["name"]).service):
                found.append(f"{name}: {metadata['consumerGroup']} is not its group")
            constant = metadata["topic"].removeprefix("learnback.").removesuffix(".v1").replace("-", "_").upper()
            if not re.search(rf"\b({constant}|TOPICS)\b", code_of(target["name"])):
                found.append(f"{name}: it does not read {metadata['topic']}")
    return found


def images(manifests: Manifests) -> list[str]:
    """Every image is one that this repository builds, at this release."""
    release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    found = []
    for one in manifests.workloads():
        image = one.container["image"]
        if not re.fullmatch(r".+:v?[0-9][^:]*|.+@sha256:[0-9a-f]{64}", image):
            found.append(f"{one.name}: {image} has no release")
        if one.ours:
            folder = ROOT / "cli" if one.service == "cli" else ROOT / "services" / one.service
            if not (folder / "__main__.py").exists():
                found.append(f"{one.name}: nothing here makes {image}")
            if "@" not in image and not image.endswith(f":{release}"):
                found.append(f"{one.name}: {image} is not of release {release}")
    return found


def drains(manifests: Manifests) -> list[str]:
    """From SIGTERM to SIGKILL is longer than the code takes to end; no new requests come to one that ends."""
    found = []
    for one in manifests.services():
        pause = one.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if one.name in HTTP and not pause:
            found.append(f"{one.name}: ends while it is still asked")
        work = 0 if one.name == "board" else ACK_TIMEOUT_S + (GRACE_S if one.name in HTTP else 0)
        if one.pod["terminationGracePeriodSeconds"] < pause + work + 5:
            found.append(f"{one.name}: killed before the {pause + work} s that it may take to end")
    return found


def policies(manifests: Manifests) -> list[str]:
    """`learnback.toml` is one."""
    found = []
    for settings in manifests.of("ConfigMap"):
        if text := settings["data"].get("learnback.toml"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "learnback.toml"
                path.write_text(text, "utf-8")
                try:
                    read_policy(path)
                except ConfigError as error:
                    found.append(str(error))
    return found


def texts(manifests: Manifests) -> list[str]:
    """Where vLLM answers, it serves the base that the predictor means, and sees the disk with its adapters."""
    given = manifests.settings(manifests.workload("predictor"))
    found = []
    for base, url in json.loads(given.get("LEARNBACK_PREDICTOR_VLLM", "{}")).items():
        server = manifests.workload(str(urlsplit(url).hostname))
        if f"--model={base}" not in server.container["args"]:
            found.append(f"{server.name}: does not serve {base}")
        written = _claim(manifests.workload("predictor"), given["LEARNBACK_PREDICTOR_VLLM_FOLDER"])
        if written is None or written != _claim(server, given["LEARNBACK_PREDICTOR_VLLM_SEES"]):
            found.append(f"{server.name}: does not see what the predictor writes")
    return found


def _claim(workload: Workload, path: str) -> str | None:
    """The disk that is mounted at a path."""
    volumes = {volume["name"]: volume for volume in workload.pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in workload.container["volumeMounts"]}
    claim: str | None = mounts.get(path, {}).get("persistentVolumeClaim", {}).get("claimName")
    return claim


def grants(manifests: Manifests) -> list[str]:
    """The database begins as `roles.sql` makes it; passwords come from Secrets, and no table is there to own."""
    script = re.sub(r"--.*", "", (ROOT / "services" / "recorder" / "roles.sql").read_text("utf-8"))
    said = [" ".join(one.replace(':"DBNAME"', "learnback").split()) for one in re.split(r";|\\gexec", script)]
    wanted = [one for one in said if one.startswith(("GRANT", "REVOKE", "ALTER DEFAULT"))]
    found = []
    for cluster in manifests.of("Cluster"):
        begun, roles = cluster["spec"]["bootstrap"]["initdb"], cluster["spec"]["managed"]["roles"]
        if begun["postInitApplicationSQL"] != wanted:
            found.append("the database: its first statements are not those of roles.sql")
        if {begun["owner"], *(role["name"] for role in roles)} != set(re.findall(r"ALTER ROLE (\S+)", script)):
            found.append("the database: its roles are not those of roles.sql")
    return found


def tokens(manifests: Manifests) -> list[str]:
    """No pod gets a token of the API server, or variables that are named after Services."""
    return [
        f"{one.name}: {name} is not false"
        for one in manifests.workloads()
        for name in ("automountServiceAccountToken", "enableServiceLinks")
        if one.pod.get(name) is not False
    ]
