"""The table's lines of classification, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from bench.learning.outcomes import JOINT, NAIVE, OURS, Learned, Retrained
from bench.report import Bar, Figure, at_least, at_most

STOCK, TUNED = "stock HF Trainer", "tuned HF Trainer"
REGRESSION, SETFIT = "frozen encoder + logistic regression", "SetFit"
TRAINERS = {TUNED: 3.0, STOCK: 12.0}  # and how many times quicker an increment must be


def of_stream(stream: str, runs: Sequence[dict[str, Learned]], bars: bool) -> list[Figure]:
    """The table's lines of one stream, means over its seeds."""

    def line(
        name: str, what: Callable[[Learned], float], unit: str, bar: Bar | None = None, among: str | None = None
    ) -> Figure:
        peers = {way: mean(what(one) for one in _those(runs, way, among)) for way in (JOINT, NAIVE)}
        return _mean(name, [what(run[OURS]) for run in runs], unit, bar if bars else None, peers)

    less = [run[OURS].accuracy - run[JOINT].accuracy for run in runs]
    share = [100 * sum(run[OURS].cpu_s) / sum(run[JOINT].cpu_s) for run in runs]
    bf16 = [100.0 * one.bf16 for run in runs for one in run.values()]
    figures = [
        line(f"{stream}: accuracy after {len(runs[0][OURS].cpu_s)} increments", lambda one: one.accuracy, "%"),
        _mean(f"… less that of {JOINT}", less, "points", _if(bars, at_least(-1.0))),
        line("… CPU time of all increments", lambda one: sum(one.cpu_s), "s"),
        _mean(f"… of that of {JOINT}", share, "%", _if(bars, at_most(20.0))),
        _mean("… trainings for which the probe chose bfloat16", bf16, "%"),
    ]
    for reading in runs[0][OURS].transfers:
        mean_change, worst = _of(reading, "mean"), _of(reading, "worst")
        figures += [
            line(f"… backward transfer {reading}", mean_change, "points", at_least(-1.0), reading),
            line("… its worst group", worst, "points", at_least(-3.0), reading),
        ]
    return figures


def _those(runs: Sequence[dict[str, Learned]], way: str, reading: str | None) -> list[Learned]:
    """A way's results; those alone that tell of backward transfer where that is what is read."""
    return [run[way] for run in runs if reading is None or reading in run[way].transfers]


def _of(reading: str, what: str) -> Callable[[Learned], float]:
    return lambda one: float(getattr(one.transfers[reading], what))


def of_all(
    anew: Sequence[Learned], ours: Sequence[Learned], peers: Mapping[str, Retrained], bars: bool
) -> list[Figure]:
    """The table's lines of all lessons at once, by the last of those who train anew, and of our last increment."""
    last = [one.cpu_s[-1] for one in ours]
    accuracy = {name: one.accuracy for name, one in peers.items()}
    cpu_s = {name: one.cpu_s for name, one in peers.items()}
    figures = [
        _mean(
            "all lessons at once: accuracy", [one.accuracy for one in anew], "%", _if(bars, at_least(96.8)), accuracy
        ),
        _mean("… CPU time", [one.cpu_s[-1] for one in anew], "s", None, cpu_s),
        _mean("the last increment instead: CPU time", last, "s"),
    ]
    for name in (name for name in TRAINERS if name in peers):
        times = [peers[name].cpu_s / one for one in last]
        figures.append(_mean(f"… times quicker than the {name}", times, "×", _if(bars, at_least(TRAINERS[name]))))
    return figures


def of_speed(ours: Retrained, peers: Mapping[str, Retrained]) -> Figure:
    """How many rows each trainer takes in."""
    per_s = {name: peers[name].per_s if name in peers else None for name in TRAINERS}
    return Figure("… rows learned in a CPU second, as often as each was", ours.per_s, "rows/s", None, None, per_s)


def of_few(draws: Sequence[dict[str, Retrained]], rows: int, bars: bool) -> list[Figure]:
    """The table's lines of a few rows of each label."""
    names = dict.fromkeys(name for draw in draws for name in draw)
    found = {name: [draw[name] for draw in draws if name in draw] for name in names}
    title, bar = f"{rows} rows a label: accuracy", _if(bars, at_least(93.3))
    accuracy = {name: [one.accuracy for one in all_] for name, all_ in found.items()}
    cpu_s = {name: [one.cpu_s for one in all_] for name, all_ in found.items()}
    return [
        _mean(title, accuracy.pop(OURS), "%", bar, {name: mean(values) for name, values in accuracy.items()}),
        _mean("… CPU time", cpu_s.pop(OURS), "s", None, {name: mean(values) for name, values in cpu_s.items()}),
    ]


def _if(bars: bool, bar: Bar) -> Bar | None:
    """A bar that is for all of the data, and for no part of it."""
    return bar if bars else None


def _mean(
    name: str, values: Sequence[float], unit: str, bar: Bar | None = None, peers: Mapping[str, float] | None = None
) -> Figure:
    return Figure(name, mean(values), unit, bar, (min(values), max(values)), peers or {})
