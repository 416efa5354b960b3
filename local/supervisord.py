"""supervisord, which looks after its programs ten times a second: a killed one is back a second sooner.

Run as: python -m local.supervisord -n -c FILE

Its loop waits up to one second for something to happen (a constant in `Supervisor.runforever`). The end of a program
ends a wait, but the next turn, which starts it again, follows only after another: 1.0 s of the recovery of 1.9 s that a
collector had (measured).
"""

from __future__ import annotations

from typing import Any

from supervisor import poller, supervisord

LOOK_S = 0.1


class QuickPoller(poller.Poller):  # type: ignore[misc]  # supervisor has no types
    """The platform's poller, with shorter waits."""

    def poll(self, timeout: float) -> Any:
        """Wait for news, but not for long."""
        return super().poll(min(timeout, LOOK_S))


if __name__ == "__main__":
    poller.Poller = QuickPoller
    supervisord.main()
