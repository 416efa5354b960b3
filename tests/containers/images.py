"""The images that ours stand on: from a registry, or where none is reachable, made here of Debian's packages.

What is made has the interface of the image that it stands for, as far as the Dockerfiles and docker-compose.yml use it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from local.cache import kafka_jars
from tests.containers.daemon import UnableError, install

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED = "python:3.11-slim-bookworm"
PULL_S = 300
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
S3 = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
NAMES = {
    "PYTHON_IMAGE": "learnback-test/python",
    "LEARNBACK_KAFKA_IMAGE": "learnback-test/kafka",
    "LEARNBACK_POSTGRES_IMAGE": "learnback-test/postgres",
    "LEARNBACK_S3_IMAGE": "learnback-test/s3",
}


def base_images(folder: Path) -> dict[str, str]:
    """The variables that name the base images; none where a registry gives the shipped ones.

    With LEARNBACK_TEST_BASES=kept those of an earlier run are taken: a minute instead of ten, for who mends a test.

    Raises:
        UnableError: there is no registry, and what is needed to make them is missing.
    """
    if os.environ.get("LEARNBACK_TEST_BASES") == "kept" and all(map(_exists, NAMES.values())):
        return NAMES
    if _pulled(SHIPPED):
        return {}
    print(f"\nNo registry gives {SHIPPED}: the base images are made here.", flush=True)
    _debian(folder / "debian")
    _image("kafka", folder, kafka_jars(), "jars")
    _image("postgres", folder)
    _image("s3", folder, [_versitygw(folder)])
    return NAMES


def _exists(image: str) -> bool:
    return not subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode


def _pulled(image: str) -> bool:
    try:
        return not subprocess.run(["docker", "pull", "-q", image], capture_output=True, timeout=PULL_S).returncode
    except subprocess.TimeoutExpired:
        return False


def _debian(root: Path) -> None:
    """Debian with Python and the certificates that this machine trusts."""
    if os.geteuid():
        raise UnableError("no registry is reachable, and only root can make base images.")
    if not shutil.which("debootstrap") and not install("debootstrap"):
        raise UnableError("no registry is reachable, and debootstrap cannot be installed.")
    _run(
        "debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", str(root)
    )  # fmt: skip
    for left in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / left)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    if HOST_CERTIFICATES.exists():
        shutil.copyfile(HOST_CERTIFICATES, root / "usr/local/share/ca-certificates/host.crt")
        _run("chroot", str(root), "update-ca-certificates")
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
        _run("docker", "import", "-", NAMES["PYTHON_IMAGE"], stdin=archive.stdout)
    shutil.rmtree(root)


def _image(name: str, folder: Path, files: list[Path] | None = None, into: str = ".") -> None:
    """Build one of the folders beside this file, with files that were got for it."""
    context = folder / name
    shutil.copytree(HERE / name, context)
    for file in files or ():
        (context / into).mkdir(exist_ok=True)
        shutil.copy(file, context / into)
    base = f"PYTHON_IMAGE={NAMES['PYTHON_IMAGE']}"
    _run("docker", "build", "-q", "--build-arg", base, "-t", f"learnback-test/{name}", str(context))


def _versitygw(folder: Path) -> Path:
    """The S3 server over a folder, compiled here."""
    if not shutil.which("go"):
        raise UnableError("no registry is reachable, and there is no Go to compile the S3 server with.")
    _run("go", "install", S3, env={**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"})
    return folder / "versitygw"


def _run(*command: str, stdin: object = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=stdin, env=env)  # type: ignore[call-overload]
    if done.returncode:
        raise UnableError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
