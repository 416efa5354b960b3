"""All of Learnback on this machine, kept in `.learnback/`, until Ctrl-C. Run as: python -m local.up (`make local`)."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from local.layout import Ports, RunFolder, run_folder
from local.supervise import running
from shared.errors import LearnbackError
from shared.settings import load

FOLDER = Path(".learnback")


def main() -> None:
    """Start everything, say where it is, and stay until Ctrl-C."""
    console = Console()
    try:
        run, ports = run_folder(FOLDER), load(Ports)
        with running(run, ports) as stack:
            stack.wait_ready()
            console.print(_addresses(run, ports), highlight=False)
            stack.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")
    except LearnbackError as error:
        sys.exit(str(error))


def _addresses(run: RunFolder, ports: Ports) -> str:
    return f"""
board      {ports.url("board")}
collector  {ports.url("collector")}  (API: {ports.url("collector")}/docs)
predictor  {ports.url("predictor")}
Kafka      {ports.kafka}
logs       {run.logs}

A key for an app:  learnback keys create APP
A model:           learnback models add NAME --task classification --base ID --examples FILE
Ctrl-C stops everything."""


if __name__ == "__main__":
    main()
