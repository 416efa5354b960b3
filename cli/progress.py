"""Show how long work goes: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from schemas.events import TrainingProgressed

LINE_EVERY_S = 5.0


class LiveBar:
    """The progress of one piece of work."""

    def __init__(self, title: str, console: Console, waiting: str = "", line_every_s: float = LINE_EVERY_S) -> None:
        """Show it under a title; `waiting` is said until the first news."""
        self._console = console
        self._live = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task(title, total=None, line=waiting)
        self._title, self._line_every_s, self._said = title, line_every_s, 0.0

    def __enter__(self) -> LiveBar:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, done: int, total: int, line: str, is_news: bool = False) -> None:
        """Show where it stands; a total of 0 is not known yet. News get a plain line at once."""
        self._live.update(self._task, completed=done, total=total or None, line=line)
        due = is_news or time.monotonic() - self._said >= self._line_every_s
        if due and not self._console.is_terminal:
            self._console.print(f"{self._title}: {line}", highlight=False, soft_wrap=True)
            self._said = time.monotonic()


def describe(progress: TrainingProgressed) -> str:
    """Where a training stands, in one line."""
    if progress.state != "running":
        return f"{progress.state} {progress.detail}".strip()
    return describe_steps(progress.step, progress.steps, progress.loss, progress.examples_per_s, progress.seconds_left)


def describe_steps(
    step: int, steps: int, loss: float | None, examples_per_s: float | None, seconds_left: float | None
) -> str:
    """Step, loss, examples/s and time left, as far as they are known."""
    parts = [f"step {step}/{steps}"]
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    if examples_per_s is not None:
        parts.append(f"{examples_per_s:.0f} examples/s")
    if seconds_left is not None:
        parts.append(f"{seconds_left:.0f} s left")
    return ", ".join(parts)
