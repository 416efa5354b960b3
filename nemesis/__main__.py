"""Load a whole installation, break it at random, drain it, and prove what became of every event.

Run as: python -m nemesis [--minutes N] [--report FILE] [--seed N] (`make nemesis MINUTES=20 REPORT=file.json`).
"""

from __future__ import annotations

import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from nemesis.report import failures, table, write
from nemesis.run import Plan, run
from shared.errors import LearnbackError

FAULT_EVERY_S = 2.8  # more than 300 in 20 minutes, though a program that has not recovered is left alone
RATE = 400.0  # of which two thirds are new: more than 200,000 accepted in 20 minutes, outages and all


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Of load and faults.")
@click.option("--report", "file", type=click.Path(path_type=Path, dir_okay=False), help="Also write JSON here.")
@click.option("--seed", type=int, help="Of everything that is drawn. Drawn itself when absent, and printed.")
@click.option("--rate", default=RATE, show_default=True, help="Events tried a second, repeats included.")
@click.option("--fault-every", default=FAULT_EVERY_S, show_default=True, help="Seconds between faults on average.")
@click.option("--cases", default=10_000, show_default=True, help="Hostile requests after the faults.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep everything in this new folder, to look into it.")
def main(
    minutes: float, file: Path | None, seed: int | None, rate: float, fault_every: float, cases: int, keep: Path | None
) -> None:
    """Break everything at random, and prove that nothing is lost and nothing is there twice."""
    plan = Plan(minutes, random.SystemRandom().randrange(2**32) if seed is None else seed, rate, fault_every, cases)
    print(f"seed {plan.seed}", flush=True)
    try:
        with ExitStack() as held:
            folder = keep or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="learnback-nemesis-")))
            folder.mkdir(parents=True, exist_ok=True)
            told = run(plan, folder)
    except LearnbackError as error:
        sys.exit(str(error))
    print(table(told))
    if file:
        write(told, file)
    if problems := failures(told):
        sys.exit(f"Broken: {'; '.join(problems)}.")


if __name__ == "__main__":
    main(prog_name="python -m nemesis")
