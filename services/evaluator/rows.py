"""One row of evidence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One input, its right output, who asked, and those tags of its prediction that slices are made of.

    `audited`: it was drawn for a reviewer, who says what is right, whatever users did. `prediction`: of a silent one.
    """

    id: str
    text: str
    target: str
    user: str | None
    tags: tuple[tuple[str, str], ...] = ()
    audited: bool = False
    prediction: str = ""
