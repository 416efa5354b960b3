"""What else takes feedback on a model's answers, each in an environment of its own that the bench makes with uv.

Both as their own documents recommend for one machine: SQLite, one worker; Phoenix with `sync=true`, since it otherwise
answers before anything is stored. Their databases are made anew in each run.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.load import ID, Target
from bench.report import Tell
from bench.stage import answers, await_ready, free_port, program
from local.layout import HOST
from shared.cache import cache_folder
from shared.errors import UnavailableError

INSTALL_S = 400
SUBJECTS = 50  # traces or spans that the feedback is spread over


class Peer(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def package(self) -> str:
        """What is installed."""

    @property
    def probe(self) -> str:
        """A path that answers 200 when it is ready."""

    def command(self, folder: Path, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """How it is started, and its variables."""

    def prepare(self, folder: Path, port: int) -> Target:
        """Make what feedback can be about, and say how to give it."""

    def count(self, port: int, target: Target) -> int:
        """How much feedback is stored."""


def environment(package: str, tell: Tell, borrowed: Sequence[str] = ()) -> Path:
    """The folder of a virtual environment with the package, made once; what is borrowed comes from ours.

    Raises:
        UnavailableError: it cannot be installed here.
    """
    folder = cache_folder() / "bench" / package.replace("==", "-")
    if (folder / "ready").exists():
        return folder
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    tell(f"installing {package} into {folder}, this one time")
    python = folder / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    steps: list[tuple[list[str], str]] = [
        ([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], ""),
        ([*install, "--override", "-", package], "".join(f"{one}; python_version < '3'\n" for one in borrowed)),
    ]
    try:
        for step, listed in steps:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=INSTALL_S, input=listed)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1:]
        raise UnavailableError(f"{package} could not be installed: {' '.join(said)}") from error
    if borrowed:  # a folder that a .pth file names is looked into last
        site = sysconfig.get_path("purelib", vars={"base": str(folder)})
        (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    (folder / "ready").touch()
    return folder


@contextlib.contextmanager
def running(peer: Peer, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The peer on its folder, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    command, variables = peer.command(folder, port)
    with program(command, log, variables, folder) as process:
        await_ready(process, log, answers(port, peer.probe))
        yield process


def ask(port: int, path: str, body: Any = None) -> Any:
    """One JSON request; GET without a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


@dataclass(frozen=True)
class Phoenix:
    """Arize Phoenix: an annotation of a span, stored before the answer."""

    binaries: Path
    name: str = "Phoenix"
    package: str = "arize-phoenix==20.26.1"
    probe: str = "/healthz"

    def command(self, folder: Path, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """`phoenix serve` with its database in the folder."""
        return [str(self.binaries / "phoenix"), "serve"], {
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_HOST": HOST,
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }

    def prepare(self, folder: Path, port: int) -> Target:  # noqa: ARG002
        """Spans, and annotations of one of them after the other."""
        spans = [secrets.token_hex(8) for _ in range(SUBJECTS)]
        ask(port, "/v1/projects/default/spans", {"data": [_span(span) for span in spans]})
        deadline = time.monotonic() + 30
        while len(ask(port, "/v1/projects/default/spans?limit=1000")["data"]) < SUBJECTS:  # they are inserted later
            if time.monotonic() > deadline:
                raise UnavailableError("Phoenix did not take the spans.")
            time.sleep(0.1)
        annotation = {
            "span_id": spans[0],
            "name": "correction",
            "annotator_kind": "HUMAN",
            "identifier": ID,
            "result": {"label": "wrong", "score": 0, "explanation": "track_order"},
        }
        body = json.dumps({"data": [annotation]})
        return Target(port, ("/v1/span_annotations?sync=true",), body)

    def count(self, port: int, target: Target) -> int:
        """Annotations of the span."""
        span = json.loads(target.body)["data"][0]["span_id"]
        found, cursor = 0, ""
        while True:
            query = urllib.parse.urlencode({"span_ids": span, "limit": 1000, **({"cursor": cursor} if cursor else {})})
            page = ask(port, f"/v1/projects/default/span_annotations?{query}")
            found += len(page["data"])
            if not (cursor := page.get("next_cursor") or ""):
                return found


@dataclass(frozen=True)
class Mlflow:
    """MLflow: an assessment of a trace."""

    binaries: Path
    name: str = "MLflow"
    package: str = "mlflow==3.17.2"
    probe: str = "/health"
    traces: list[str] = field(default_factory=list)

    def command(self, folder: Path, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """`mlflow server` with its database in the folder."""
        server = [str(self.binaries / "mlflow"), "server", "--host", HOST, "--port", str(port), "--workers", "1"]
        stores = [
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            f"{folder}/artifacts",
        ]
        return [*server, *stores], {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

    def prepare(self, folder: Path, port: int) -> Target:
        """Traces, made by MLflow's own client, and assessments of one after the other."""
        code = (
            "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1])\n"
            f"for n in range({SUBJECTS}):\n"
            "    with mlflow.start_span('answer') as span: span.set_inputs({'text': 'where is it'})\n"
            "    print(span.trace_id)\n"
            "mlflow.flush_trace_async_logging()\n"
        )
        command = [str(self.binaries / "python"), "-c", code, f"http://{HOST}:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
        self.traces[:] = [line for line in done.stdout.split() if line.startswith("tr-")]
        if len(self.traces) < SUBJECTS:
            raise UnavailableError(f"MLflow did not take the traces: {done.stderr.strip()[-200:]}")
        assessment = {
            "assessment_name": "correction",
            "source": {"source_type": "HUMAN", "source_id": "user-17"},
            "feedback": {"value": False},
            "rationale": "track_order",
            "metadata": {"event_id": ID},
        }
        paths = tuple(f"/api/3.0/mlflow/traces/{trace}/assessments" for trace in self.traces)
        return Target(port, paths, json.dumps({"assessment": assessment}))

    def count(self, port: int, target: Target) -> int:  # noqa: ARG002
        """Assessments of all traces."""
        told = [ask(port, f"/api/3.0/mlflow/traces/{trace}")["trace"]["trace_info"] for trace in self.traces]
        return sum(len(info.get("assessments", [])) for info in told)


def _span(span: str) -> dict[str, Any]:
    moment = "2026-01-01T00:00:0{}.000000+00:00"
    return {
        "name": "answer",
        "context": {"trace_id": secrets.token_hex(16), "span_id": span},
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": moment.format(0),
        "end_time": moment.format(1),
        "status_code": "OK",
        "status_message": "",
        "attributes": {},
        "events": [],
    }
