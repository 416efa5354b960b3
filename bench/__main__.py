"""Run a bench: python -m bench NAME [--quick] [--json FILE]. Ends with 1 when a bar does not hold.

A bench may ask for more: `options` in its module adds to its command line, and `measure` gets what was said by name.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rich.console import Console

import bench
from bench.report import Report
from local.interrupts import ending
from shared.errors import LearnbackError


def main(arguments: list[str]) -> int:
    """Measure, show the table, write the JSON."""
    found = benches()
    given = vars(parser(found).parse_args(arguments))
    name, quick, file = (given.pop(one) for one in ("name", "quick", "json"))
    console, started = Console(stderr=True, highlight=False), time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - started:6.1f} s  {line}", soft_wrap=True, markup=False)

    try:
        with ending():
            figures = found[name].measure(quick, tell, **given)
    except LearnbackError as error:
        console.print(str(error), markup=False)
        return 2
    report = Report(name, " ".join(["python -m bench", *arguments]), figures)
    Console(width=max(120, Console().width)).print(report.table())
    if file:
        report.write(file)
    return 0 if report.holds else 1


def benches() -> dict[str, ModuleType]:
    """The modules here that measure something, by name; the others are what they share."""
    names = [found.name for found in pkgutil.iter_modules(bench.__path__) if found.name != "__main__"]
    modules = {name: import_module(f"bench.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "measure")}


def parser(found: Mapping[str, ModuleType]) -> argparse.ArgumentParser:
    """The command line: what all benches can be asked, and what each alone."""
    whole = argparse.ArgumentParser("python -m bench", description="Measure a published figure again.")
    names = whole.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in sorted(found):
        about = (found[name].__doc__ or "").partition("\n")[0]
        one = names.add_parser(name, help=about, description=about)
        one.add_argument("--quick", action="store_true", help="the same on less data, in at most 3 minutes")
        one.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
        if hasattr(found[name], "options"):
            found[name].options(one)
    return whole


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
