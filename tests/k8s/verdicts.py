"""What others' judges say of manifests: the API's schemas, kube-score, and the admission of Pod Security.

Custom resources are held against `custom.yaml`, written from their operators' documentation.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from tests.k8s.manifests import Manifests, Object
from tests.k8s.tools import KUBE_SCORE, installed, podsecurity

KUBERNETES = "1.37"
CUSTOM = yaml.safe_load(Path(__file__).with_name("custom.yaml").read_text("utf-8"))

Check = Callable[[Manifests], list[str]]


def invalid(objects: list[Object]) -> list[str]:
    """Objects that the API server, or an operator's definition of its resource, would refuse."""
    found = []
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        metadata = CUSTOM["resources"].get(f"{one['apiVersion']}/{one['kind']}")
        try:
            if metadata:
                _custom(one["kind"], metadata).validate(one)
            else:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except jsonschema.ValidationError as error:
            found.append(f"{name}: {error.json_path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            found.append(f"{name}: there is no schema of {one['apiVersion']}")
    return found


def _custom(kind: str, metadata: str) -> jsonschema.Draft202012Validator:
    schema = {
        "$defs": CUSTOM["$defs"],
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"const": kind},
            "metadata": {"$ref": f"#/$defs/{metadata}"},
            "spec": {"$ref": f"#/$defs/{kind}"},
        },
    }
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def critical(manifests: Manifests) -> list[str]:
    """What kube-score calls critical."""
    text = yaml.safe_dump_all(manifests.objects)
    command = [str(installed(KUBE_SCORE)), "score", "--output-format", "ci", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert any(line.startswith("[OK]") for line in lines), done.stderr
    return [line for line in lines if line.startswith("[CRITICAL]")]


def refused(pods: list[Object]) -> list[str]:
    """Pods that the level restricted does not let in, with the admission's reasons."""
    done = subprocess.run([str(podsecurity())], input=json.dumps(pods), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    reasons = json.loads(done.stdout)
    assert len(reasons) == len(pods)
    return [f"{pod['metadata']['name']}: {reason}" for pod, said in zip(pods, reasons, strict=True) for reason in said]
