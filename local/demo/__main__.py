"""Play the whole loop on this machine. Run as: python -m local.demo [--scenario NAME] [--target compose] [--seed N]."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console

from local.demo.place import Composed, in_containers, key_in_containers, key_on_this_machine, on_this_machine
from local.demo.play import MODEL, Play, play
from local.demo.report import Report, make_room
from local.demo.scenarios import SCENARIOS
from local.demo.story import read_story
from local.holds import clear
from local.layout import Ports, run_folder
from local.supervise import Stack, running
from shared.errors import BadInputError, FatalError, LearnbackError
from shared.settings import load

FOLDER = Path(".learnback/demo")
PLAYED = "What is played: labels for help-desk questions, or letters to JSON."


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scenario", "name", type=click.Choice([*SCENARIOS]), default="intent", show_default=True, help=PLAYED)
@click.option(
    "--target", type=click.Choice(["local", "compose"]), default="local", show_default=True, help="Where it is played."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with train and test.jsonl; one of ours without.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report here, as JSON.")
@click.option("--seed", default=0, show_default=True, help="Of everything that the users draw.")
@click.option("--predictions", type=click.IntRange(1), help="Asked in all; the scenario's number without.")
@click.option("--rate", type=click.FloatRange(0.1), help="Asked a second, at the most; the scenario's without.")
def main(
    name: str,
    target: str,
    data: Path | None,
    report: Path | None,
    seed: int,
    predictions: int | None,
    rate: float | None,
) -> None:
    """Simulated users ask and say what they think; the loop does the rest by itself."""
    console = Console()
    try:
        run, ports = run_folder(FOLDER), load(Ports)
        if report:
            make_room(report)
        scenario = SCENARIOS[name]
        asked = predictions or scenario.predictions
        if asked < scenario.fewest:
            raise BadInputError(
                "too_few", f"The demo compares both ends: ask at least {scenario.fewest:,} predictions."
            )
        story = read_story(data or scenario.data, asked, seed, scenario)
        rate = rate or scenario.rate
        if target == "compose":
            composed = load(Composed)
            place = in_containers(run.root, ports, composed)
            os.environ.update(place.variables)  # the artifact store is read here too
            _tell(play(Play(place, key_in_containers(composed, MODEL), story, seed, rate), console), report, console)
            return
        clear(run)
        with running(run, ports, {"LEARNBACK_POLICY_FILE": str(scenario.policy.absolute())}) as stack:
            stack.wait_ready()
            console.print(f"\nboard  {ports.url('board')}\nlogs   {run.logs}\n", highlight=False)
            place, key = on_this_machine(run, ports), key_on_this_machine(run, MODEL)
            _tell(play(Play(place, key, story, seed, rate), console), report, console)
            _stay(stack, ports, console)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except LearnbackError as error:
        sys.exit(str(error))


def _tell(result: Report, report: Path | None, console: Console) -> None:
    """Show the report, and write it if asked to.

    Raises:
        FatalError: the loop did not close.
    """
    console.print(result.table())
    if report:
        result.write(report)
        console.print(f"The report is in {report}.", highlight=False)
    if failures := result.failures():
        raise FatalError(f"The loop did not close: {' '.join(failures)} See the logs.")


def _stay(stack: Stack, ports: Ports, console: Console) -> None:
    """Leave the board open until Ctrl-C, if there is a person to press it."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty() or os.environ.get("CI"):
        return
    console.print(f"\nThe board stays open at {ports.url('board')} until Ctrl-C.", highlight=False)
    stack.wait()


if __name__ == "__main__":
    main(prog_name="python -m local.demo")
