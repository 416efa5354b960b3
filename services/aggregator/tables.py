"""Faust's tables, begun with what was read of their changelogs in bulk (see `changelogs`)."""

from __future__ import annotations

from typing import Any

import faust
from faust.tables import TableManager
from faust.types import TP

from services.aggregator.changelogs import Contents


class Table(faust.Table[bytes, bytes]):
    """A table in memory that may know how far its changelog was read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._read: dict[tuple[str, int], int] = {}

    def begin(self, kept: Contents) -> None:
        """Start with these values, before the app runs."""
        self.data.data.update(kept.values)
        self._read = dict(kept.offsets)

    def persisted_offset(self, tp: TP) -> int | None:
        """Where Faust goes on. It is told once: a partition that went and came back is read from its start."""
        return self._read.pop(tp, None)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """What nobody asked for is of partitions that are not ours; its values go now, and do not count as read."""
        self._read.clear()
        await super().on_recovery_completed(active_tps, standby_tps)


class Tables(TableManager):
    """All tables, without the second that Faust sleeps first for tables that are declared late: none is here."""

    async def on_start(self) -> None:
        """Be ready for the first assignment."""
        await self._update_channels()
        await self.recovery.start()
