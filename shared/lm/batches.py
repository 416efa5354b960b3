"""Which rows of unlike length are computed side by side: those of like length, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized


def by_length(rows: Sequence[Sized], size: int) -> Iterator[list[int]]:
    """Indices of the rows in batches of at most `size`, the shortest rows first."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), size):
        yield order[start : start + size]
