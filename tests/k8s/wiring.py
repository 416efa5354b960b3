"""Whether a container is told what its code asks for: settings, ports, probes, files.

Each check gives a sentence for each thing that is wrong.
"""

from __future__ import annotations

import importlib
import tempfile
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from unittest.mock import patch

from pydantic_settings import BaseSettings

from cli.models import add
from local.layout import Ports, run_folder
from local.programs import stages
from shared.errors import ConfigError
from shared.http.probes import probes
from shared.observe import Pulse, serve_probes
from shared.settings import Platform, load
from tests.conftest import free_port
from tests.k8s.manifests import CONSOLE, ROOT, Manifests, Object

HTTP = ("collector", "predictor")  # the others' probes are served beside their loop; Streamlit has its own
LIBRARIES = {"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SHARED_CREDENTIALS_FILE", "XDG_CACHE_HOME"}
NEEDS = {  # what a service's code calls → the setting that names a file, which must then be there
    "read_secret(": ("LEARNBACK_SECRET_FILE", "LEARNBACK_KEYS_FILE"),
    "ArtifactStore(": ("AWS_SHARED_CREDENTIALS_FILE",),
    "open_database(": ("LEARNBACK_DATABASE_PASSWORD_FILE",),
    "read_policy(": ("LEARNBACK_POLICY_FILE",),
    "read_key(": ("LEARNBACK_BOARD_KEY_FILE",),
}


def code_of(service: str) -> str:
    """All that a service's own modules say."""
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "services" / service).rglob("*.py")))


def settings_of(service: str) -> type[BaseSettings]:
    """A service's settings class."""
    module = importlib.import_module(f"services.{service}.settings")
    settings: type[BaseSettings] = getattr(module, f"{service.capitalize()}Settings")
    return settings


def variables(settings: type[BaseSettings]) -> set[str]:
    """The names that a settings class reads."""
    prefix = settings.model_config.get("env_prefix", "")
    return {f"{prefix}{field}".upper() for field in settings.model_fields}


def settings(manifests: Manifests) -> list[str]:
    """Every variable is one that the code reads, with a value that it takes."""
    found = []
    for one in manifests.workloads():
        if not one.ours:
            continue
        given = manifests.settings(one)
        known = variables(Platform) | LIBRARIES
        if one.name == CONSOLE:
            known |= {str(option.envvar) for option in add.params if option.envvar}
        else:
            known |= variables(settings_of(one.service))
        found += [f"{one.name}: nothing reads {name}" for name in sorted(given.keys() - known)]
        with patch.dict("os.environ", given, clear=True):
            try:
                load(Platform)
                if one.name != CONSOLE:
                    load(settings_of(one.service))
            except ConfigError as error:
                found.append(f"{one.name}: {error}")
    return found


def ports(manifests: Manifests) -> list[str]:
    """A container's port is where the code listens, on every address; a Service leads to it."""
    found = []
    for one in manifests.services():
        with patch.dict("os.environ", manifests.settings(one), clear=True):
            listening = load(settings_of(one.service)).model_dump()
        if manifests.ports(one) != {"http": listening["port"]}:
            found.append(f"{one.name}: listens on {listening['port']}, not on {manifests.ports(one)}")
        if listening["host"] != "0.0.0.0":
            found.append(f"{one.name}: listens on {listening['host']} alone")
    for service in manifests.of("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        behind = [one for one in manifests.workloads() if spec["selector"].items() <= one.labels.items()]
        found += [f"Service {name} leads to {len(behind)} workloads"] if len(behind) != 1 else []
        for port in spec["ports"]:
            for one in behind:
                if manifests.ports(one).get(port["targetPort"]) != port["port"]:
                    found.append(f"Service {name}: port {port['port']} is not {one.name}'s {port['targetPort']}")
    return found


@cache
def routes(service: str) -> frozenset[str]:
    """The paths of a service's probes, as its code has them."""
    if service == "board":
        with tempfile.TemporaryDirectory() as folder:
            programs = stages(run_folder(Path(folder)), Ports())[-1].programs
        return frozenset(str(program.probe) for program in programs if program.name == "board")
    if service in HTTP:
        return frozenset(str(getattr(route, "path", "")) for route in probes(lambda: True).routes)
    port = free_port()
    stop = serve_probes("tests", Pulse(ready=True), "127.0.0.1", port)
    try:
        return frozenset(path for path in ("/livez", "/readyz", "/metrics") if _answers(port, path))
    finally:
        stop()


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def probed(manifests: Manifests) -> list[str]:
    """Each service has probes, at routes that it answers, on a port that it has."""
    found = []
    for one in manifests.services():
        missing = {"livenessProbe", "readinessProbe"} - one.container.keys()
        found += [f"{one.name}: no {kind}" for kind in sorted(missing)]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe: Object = one.container.get(kind, {})
            place = probe.get("httpGet") or probe.get("tcpSocket") or {}
            if place and place["port"] not in manifests.ports(one):
                found.append(f"{one.name}: {kind} asks a port {place['port']}")
            if "path" in place and place["path"] not in routes(one.service):
                found.append(f"{one.name}: {kind} asks for {place['path']}, which is no route of it")
    return found


def files(manifests: Manifests, secrets: list[Object]) -> list[str]:
    """What the code of a service reads is mounted where its setting says, from what `learnback secrets` makes."""
    keys = {(one["metadata"]["name"], key) for one in secrets for key in one["data"]}
    found = []
    for one in manifests.services():
        mounted, given = manifests.mounted(one), manifests.settings(one)
        needed = {name for call, names in NEEDS.items() if call in code_of(one.service) for name in names}
        missing = sorted(name for name in needed if given.get(name) not in mounted)
        found += [f"{one.name}: {name} names {given.get(name)}, and nothing is there" for name in missing]
        wanted = {given.get(name) for name in needed}
        found += [f"{one.name}: nothing reads {path}" for path in sorted(mounted.keys() - wanted)]
    for one in manifests.workloads():
        for path, (kind, name, key) in manifests.mounted(one).items():
            if kind == "Secret" and (name, key) not in keys:
                found.append(f"{one.name}: {path} is of {name}/{key}, which nobody makes")
    for cluster in manifests.of("Cluster"):
        spec = cluster["spec"]
        names = [spec["bootstrap"]["initdb"]["secret"]["name"]]
        names += [role["passwordSecret"]["name"] for role in spec["managed"]["roles"]]
        found += [f"the database: no Secret {name}" for name in names if (name, "password") not in keys]
    return found
