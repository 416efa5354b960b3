"""What a person sees while programs start: a live line each, or on no terminal a plain line when one is ready."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Watch:
    """Shows which programs start and which are ready, and after how long."""

    def __init__(self, names: Iterable[str], console: Console | None = None) -> None:
        """Show these programs, in this order, as waiting."""
        self._console = console or Console(stderr=True)
        self._live = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._live.add_task(name, start=False, total=1, state="waiting") for name in names
        }
        self._started: dict[str, float] = {}

    def __enter__(self) -> Watch:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, name: str) -> None:
        """The program starts now."""
        self._started[name] = time.monotonic()
        self._live.start_task(self._tasks[name])
        self._live.update(self._tasks[name], state="starting")

    def starts(self, name: str, times: int) -> None:
        """The program was started that often so far."""
        self._live.update(self._tasks[name], state="starting" if times < 2 else f"starting again ({times})")

    def ready(self, name: str) -> None:
        """The program is ready."""
        self._live.update(self._tasks[name], completed=1, state="ready")
        if not self._console.is_terminal:
            self._console.print(
                f"{name} is ready after {time.monotonic() - self._started[name]:.1f} s", highlight=False
            )
