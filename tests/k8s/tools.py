"""Go programs that judge manifests, built once into the user's cache: kustomize, kube-score, and our podsecurity.

Where Go is missing or cannot download, what needs them is skipped, and says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.cache import cache_folder

KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
PODSECURITY = Path(__file__).parent / "podsecurity"
BUILD_S = 900  # kustomize took 55 s of CPU from nothing, kube-score 40, podsecurity 19

OLDEST = (1, 21)
AWAY = ("dial tcp", "proxyconnect", "i/o timeout", "TLS handshake", "x509")  # what Go says without a network


def installed(module: str) -> Path:
    """A program of a published module."""
    name, _, version = module.rpartition("@")
    program = name.removesuffix("/v5").rpartition("/")[2]
    return _built(program, version, ["install", module])


def podsecurity() -> Path:
    """The program of this repository, for what its files are now."""
    files = sorted(path for path in PODSECURITY.iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]
    return _built("podsecurity", digest, ["-C", str(PODSECURITY), "install", "."])


def _built(program: str, version: str, command: list[str]) -> Path:
    folder = cache_folder() / "go" / f"{program}-{version}"
    path = folder / program
    if path.exists():
        return path
    go = shutil.which("go")
    if go is None or not _new_enough(go):
        pytest.skip(f"no Go here to build {program} with: install Go 1.21 or newer")
    environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run([go, *command], env=environment, capture_output=True, text=True, timeout=BUILD_S)
    if any(sign in done.stderr for sign in AWAY):
        pytest.skip(f"Go could not download {program}: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"Go could not build {program}: {done.stderr}"
    return path


def _new_enough(go: str) -> bool:
    """Whether this Go gets by itself the newer one that a module may ask for."""
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60).stdout
    found = re.match(r"go(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST
