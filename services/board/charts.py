"""Charts: one accent colour, grey for the rest, and every share with its band and its n."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from services.board.health import Minute
from services.board.lineage import Mark, Trial, VersionFacts
from services.board.proportion import Proportion
from services.board.served import Point

Chart = alt.LayerChart | alt.FacetChart

ACCENT = "#6e6ade"  # between the two themes' primary colours: it reads on white and on black
GREY = "#8b8d98"
SHARE = alt.Axis(format="%", title=None, tickCount=6)


def accuracy_over_time(points: tuple[Point, ...], marks: tuple[Mark, ...], trials: tuple[Trial, ...]) -> Chart:
    """Rolling served accuracy with its band; a rule for each champion, a hollow mark for each candidate turned down."""
    frame = pd.DataFrame(
        [(point.at, point.accuracy.value, *point.accuracy.band, point.accuracy.n) for point in points],
        columns=["at", "accuracy", "low", "high", "n"],
    )
    floor = max(0.0, float(frame["low"].min()) // 0.1 * 0.1)
    share = alt.Scale(domain=[floor, 1.0])
    base = alt.Chart(frame).encode(x=alt.X("at:T", title=None, axis=alt.Axis(format=_clock(frame["at"]))))
    tooltip = [
        alt.Tooltip("at:T", title="Time", format="%H:%M:%S"),
        alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%"),
        alt.Tooltip("low:Q", title="Band from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="Answers"),
    ]
    band = base.mark_area(color=ACCENT, opacity=0.16).encode(y=alt.Y("low:Q", scale=share, axis=SHARE), y2="high:Q")
    line = base.mark_line(color=ACCENT, strokeWidth=2.5).encode(y=alt.Y("accuracy:Q", scale=share))
    touch = base.mark_point(size=120, opacity=0).encode(y=alt.Y("accuracy:Q", scale=share), tooltip=tooltip)
    return alt.layer(band, line, *_rail(marks, trials), touch).properties(height=320)


def _clock(times: pd.Series[Any]) -> str:
    """Hours and minutes; with the day, when the chart spans more than one."""
    return "%H:%M" if times.max() - times.min() < pd.Timedelta(days=1) else "%d %b %H:%M"


def _rail(marks: tuple[Mark, ...], trials: tuple[Trial, ...]) -> list[alt.Chart]:
    """The upper edge of the chart, where versions come and go."""
    layers = []
    if marks:
        frame = pd.DataFrame([(mark.at, ("↩ " if mark.rollback else "") + mark.name) for mark in marks])
        frame.columns = pd.Index(["at", "version"])
        base = alt.Chart(frame).encode(x="at:T", tooltip=[alt.Tooltip("version:N", title="Champion from here on")])
        layers.append(base.mark_rule(color=GREY, strokeDash=[3, 3], opacity=0.8))
        words = base.mark_text(color=ACCENT, fontWeight=600, fontSize=12, align="left", dx=4, dy=8, baseline="middle")
        layers.append(words.encode(y=alt.value(0), text="version:N"))
    if trials:
        frame = pd.DataFrame([(trial.at, trial.name, trial.outcome, trial.reason) for trial in trials])
        frame.columns = pd.Index(["at", "version", "outcome", "reason"])
        tooltip = [alt.Tooltip(f"{name}:N", title=name.capitalize()) for name in ("version", "outcome", "reason")]
        hollow = alt.Chart(frame).mark_point(shape="circle", size=70, filled=False, color=GREY, strokeWidth=2)
        layers.append(hollow.encode(x="at:T", y=alt.value(8), tooltip=tooltip))
    return layers


def outcomes(minutes: tuple[Minute, ...]) -> Chart:
    """What was accepted in each minute, stacked by what became of it."""
    colours = {
        "stored": ACCENT, "repeats": "#b5b3ec", "conflicts": "#d98c3f", "erased": "#c3c5cc", "quarantined": "#e0b64a",
        "dead": "#b0553a", "on their way": GREY, "missing": "#d11f3a",
    }  # fmt: skip
    rows = [
        (one.at, name, count)
        for one in minutes
        for name, count in {**one.ended, "on their way": one.pending, "missing": one.lost}.items()
        if count
    ]
    frame = pd.DataFrame(rows, columns=["at", "outcome", "events"])
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    seen = [name for name in colours if name in set(frame["outcome"])]
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("yearmonthdatehoursminutes(at):T", title=None, axis=alt.Axis(format=_clock(frame["at"]))),
            y=alt.Y("events:Q", title=None, axis=alt.Axis(tickCount=4)),
            color=alt.Color("outcome:N", scale=scale, legend=alt.Legend(title=None, orient="top", values=seen)),
            tooltip=[
                alt.Tooltip("at:T", title="Minute", format="%H:%M"),
                alt.Tooltip("outcome:N", title="Outcome"),
                alt.Tooltip("events:Q", title="Events"),
            ],
        )
    )
    return alt.layer(bars).properties(height=240)


def learning_curve(by_version: dict[str, Proportion]) -> Chart:
    """Served accuracy of each version that served, with its band and n."""
    ordered = sorted(by_version.items(), key=lambda item: (len(item[0]), item[0]))
    frame = pd.DataFrame(
        [(f"{name}|n {accuracy.n}", accuracy.value, *accuracy.band) for name, accuracy in ordered],
        columns=["version", "accuracy", "low", "high"],
    )
    axis = alt.Axis(
        title=None, labelAngle=0, labelExpr="split(datum.label, '|')", labelLineHeight=14, labelAlign="center"
    )
    share = alt.Scale(domain=[max(0.0, float(frame["low"].min()) // 0.1 * 0.1), 1.0])
    base = alt.Chart(frame).encode(x=alt.X("version:O", sort=None, axis=axis))
    tooltip = [alt.Tooltip(f"{name}:Q", title=name.capitalize(), format=".1%") for name in ("accuracy", "low", "high")]
    bars = base.mark_rule(color=ACCENT, strokeWidth=2, opacity=0.45)
    line = base.mark_line(color=ACCENT, strokeWidth=1.5, opacity=0.5)
    dots = base.mark_point(color=ACCENT, filled=True, size=80, opacity=1)
    height = alt.Y("accuracy:Q", scale=share, axis=SHARE)
    return alt.layer(
        bars.encode(y=alt.Y("low:Q", scale=share, axis=SHARE), y2="high:Q"),
        line.encode(y=height),
        dots.encode(y=height, tooltip=tooltip),
    ).properties(height=320)


def lineage(versions: tuple[VersionFacts, ...]) -> str:
    """The tree of versions in DOT: the champion filled, former ones outlined, those never promoted dashed.

    A refresh hangs by a dotted line: it replaces its parent, and was not made from it.
    """
    lines = [
        "digraph { rankdir=LR; bgcolor=transparent; nodesep=0.25; ranksep=0.45;",
        f'node [shape=box, style="rounded", fontname="sans-serif", fontsize=12, color="{GREY}", fontcolor="{GREY}"];',
        f'edge [color="{GREY}", arrowsize=0.6];',
    ]
    for made in reversed(versions):
        style = f'color="{ACCENT}", fontcolor="{ACCENT}"' if made.was_champion else 'style="rounded,dashed"'
        if made.champion:
            style = f'style="rounded,filled", fillcolor="{ACCENT}", color="{ACCENT}", fontcolor="white"'
        lines.append(f'"{made.version}" [label="{made.name}", {style}];')
    known = {made.version for made in versions}
    lines += [
        f'"{made.parent}" -> "{made.version}"{" [style=dotted]" if made.refreshed else ""};'
        for made in reversed(versions)
        if made.parent in known
    ]
    return "\n".join([*lines, "}"])
