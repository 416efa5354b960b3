"""Who needs a version in memory: aliases that name it, news that prepare it, and batches that began with it.

So a switch waits for nobody: it exchanges names, and what goes on with the old version keeps it to its end.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from schemas.events import ModelStateChanged


class Holds:
    """How many need each version; with the last of them it is dropped. Any thread may take and give back."""

    def __init__(self, drop: Callable[[ModelStateChanged], None]) -> None:
        """Start with none; `drop` forgets the version of a state, and may be told of one that was never loaded."""
        self._drop = drop
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._changing = threading.Lock()

    def take(self, state: ModelStateChanged) -> None:
        """Need a state's version, loaded or not yet."""
        with self._changing:
            self._counts[_version(state)] += 1

    def give(self, state: ModelStateChanged) -> None:
        """Need it no more."""
        with self._changing:
            self._counts[_version(state)] -= 1
            if not self._counts[_version(state)]:
                del self._counts[_version(state)]
                self._drop(state)


def _version(state: ModelStateChanged) -> tuple[str, str, str]:
    return state.task, state.base, state.version
