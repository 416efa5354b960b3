"""The newest events' ids and what they say, in bounded memory: a repeat is told at once, a conflict is refused.

Only a courtesy: whatever is older, or came by another collector or before a restart, is recognised by the recorder,
for ever. So an id may leave here at any time, and is remembered only once its event is durable: of two requests with
one id that are under way together, neither knows whether the other will last, both are appended, and the recorder
keeps the first.
"""

from __future__ import annotations

CAPACITY = 200_000  # ids; 33 MB with ids of 41 characters, and 50 s of 4,000 events a second


class Window:
    """Two generations of ids: when the young one is full it becomes the old one, and the old one is let go of."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Make one that holds at most `capacity` ids, and at least half as many of the newest."""
        self._half = max(1, capacity // 2)
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def content(self, event_id: str) -> int | None:
        """The digest of what the event of this id says; None when it is not known here."""
        known = self._young.get(event_id)
        return self._old.get(event_id) if known is None else known

    def remember(self, contents: dict[str, int]) -> None:
        """Keep the digests of durable events by their ids; what an id said first stays."""
        for event_id, content in contents.items():
            if event_id not in self._old:
                self._young.setdefault(event_id, content)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
