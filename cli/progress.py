"""Show how an increment goes: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from schemas.events import TrainingProgressed

LINE_EVERY_S = 5.0


class TrainingBar:
    """The progress of one training."""

    def __init__(self, title: str, console: Console) -> None:
        """Show it under a title."""
        self._console = console
        self._live = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task(title, total=None, line="waiting for the trainer")
        self._title, self._said, self._state = title, 0.0, ""

    def __enter__(self) -> TrainingBar:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: TrainingProgressed) -> None:
        """Show where it stands."""
        line = describe(progress)
        self._live.update(self._task, completed=progress.step, total=progress.steps or None, line=line)
        news = progress.state != self._state or time.monotonic() - self._said >= LINE_EVERY_S
        if news and not self._console.is_terminal:
            self._console.print(f"{self._title}: {line}", highlight=False, soft_wrap=True)
            self._said, self._state = time.monotonic(), progress.state


def describe(progress: TrainingProgressed) -> str:
    """Where a training stands, in one line."""
    if progress.state != "running":
        return f"{progress.state} {progress.detail}".strip()
    parts = [f"step {progress.step}/{progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.examples_per_s is not None:
        parts.append(f"{progress.examples_per_s:.0f} examples/s")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)
