"""Every error that the client raises.

LearnbackError
├── RefusedError       the service refused what was sent; sending it again does not help
├── UnavailableError   the service is away; sending it again may help
└── DroppedError       events were not delivered: the queue was full, or the time at the end was short

None holds what was sent.
"""

from __future__ import annotations


class LearnbackError(Exception):
    """Root of the tree."""


class RefusedError(LearnbackError):
    """The service refused what was sent."""

    def __init__(self, code: str, detail: str, field: str | None = None, status: int | None = None) -> None:
        """Make one from the service's problem: its reason, sentence, field and status."""
        super().__init__(f"{code}{f' at {field}' if field else ''}: {detail}")
        self.code = code
        self.detail = detail
        self.field = field
        self.status = status


class UnavailableError(LearnbackError):
    """The service is away."""


class DroppedError(LearnbackError):
    """Events were not delivered."""
