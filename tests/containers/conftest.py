"""The containers are proved by `make test-containers` alone: they take minutes, and a Docker daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.daemon import UnableError, docker_daemon
from tests.containers.images import base_images
from tests.containers.project import Project, started

if not os.environ.get("LEARNBACK_TEST_CONTAINERS"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of the compose file that name images which this machine has, or can get."""
    try:
        with docker_daemon():
            yield base_images(tmp_path_factory.mktemp("images"))
    except UnableError as error:
        pytest.skip(f"CONTAINERS ARE NOT TESTED: {error}")


@pytest.fixture(scope="session")
def project(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Everything in containers, started by `make up` as it is shipped, and removed at the end."""
    folder: Path = tmp_path_factory.mktemp("project")
    with started(images, folder) as project:
        yield project
