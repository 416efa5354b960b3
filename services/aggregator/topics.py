"""Topics that only the aggregator writes and reads.

Faust would create its changelogs itself, but with the broker's defaults: segments of 1 GB are never compacted while
they are written to, so a restart would read every change there ever was.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.topics import FEEDBACK, VERDICTS, Topic

APP = "aggregator"
JOINS, LOOPS, SLICES = "joins", "loops", "slices"


@dataclass(frozen=True)
class Changelog(Topic):
    """The compacted topic behind a Faust table; its name is the one that Faust expects.

    With `days`, what was not written again for so long goes too.
    """

    @property
    def configs(self) -> dict[str, str]:
        """Small segments that close after ten minutes, so that compaction keeps a restart short."""
        return {
            **super().configs,
            "cleanup.policy": "compact" if self.days is None else "compact,delete",
            "segment.bytes": str(16 * 1024 * 1024),
            "segment.ms": "600000",
            "min.cleanable.dirty.ratio": "0.2",
        }

    @property
    def table(self) -> str:
        """The table behind which it is."""
        return self.name.removeprefix(f"{APP}-").removesuffix("-changelog")


def _changelog(table: str, key: str, partitions: int, days: int | None = None) -> Changelog:
    return Changelog(f"{APP}-{table}-changelog", key, partitions, days, (), (APP,))


# Keyed by model with as many partitions as candidates, progress and verdicts, so that all that is known of a model
# meets in one partition. A day is enough: the offsets of a reader that was away longer are the log's, not this one's.
OUTCOMES = Topic("aggregator-outcomes.v1", "model", VERDICTS.partitions, 1, (), (APP,))

CHANGELOGS = (
    _changelog(JOINS, "prediction_id", FEEDBACK.partitions, days=2),  # an entry waits for a day (join.DAY_S)
    _changelog(LOOPS, "model", OUTCOMES.partitions),
    _changelog(SLICES, "model|slice", OUTCOMES.partitions),
)
INTERNAL: tuple[Topic, ...] = (OUTCOMES, *CHANGELOGS)
