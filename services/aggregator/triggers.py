"""When to ask for an increment: the state of one model's loop and its transitions. Pure.

One request is out at a time. It ends with the verdict on its candidate, with the trainer's «skipped» or «failed», or
when nothing was heard of it for `TIMEOUT_S`. Counting starts anew when the request is made; if it came to nothing, its
examples still wait, but the next request waits too, for the clock or for some new examples: the same question asked
again at once would get the same answer.
"""

from __future__ import annotations

from typing import Literal

from schemas.events import CandidateTrained, TrainingProgressed, VerdictReached
from services.aggregator.facts import Crowned, Judged, Kept, Reviewed, Value
from services.aggregator.slices import Rise
from shared.policy import Trigger
from shared.text import short_hash

TIMEOUT_S = 30 * 60  # without a sign of life; a long training reports progress all the time
MAX_VERDICTS = 8  # candidates and verdicts are on different topics: a verdict may be read first

Reason = Literal["examples", "schedule", "slice", "drift"]


class Asked(Value):
    """The request that is out. `sent` turns true after the request was published (it is written before that)."""

    request_id: str
    trigger: Reason
    detail: str
    at: float
    heard_at: float
    taken_before: int
    candidate: str | None = None
    sent: bool = False


class Loop(Kept):
    """One model: its champion, its versions' labels, the usable examples counted for it, and the request that is out.

    `taken` of the `usable` examples belong to earlier requests. `wait_usable` and `wait_until` hold back the request
    after one that came to nothing.
    """

    model: str
    labels: frozenset[str] = frozenset()
    champion: str | None = None
    reign_since: float = 0.0
    usable: int = 0
    taken: int = 0
    clock: float = 0.0
    asked: Asked | None = None
    requests: int = 0
    verdicts: tuple[str, ...] = ()
    drifted: bool = False
    wait_usable: int = 0
    wait_until: float = 0.0

    @property
    def waiting(self) -> int:
        """Usable examples that no request has taken."""
        return self.usable - self.taken


def on_usable(loop: Loop, fact: Judged | Reviewed) -> Loop:
    """Count a fact once; it adds an example if it teaches one."""
    if loop.has_seen(fact):
        return loop
    teaches = fact.teaches if isinstance(fact, Judged) else True
    return loop.model_copy(update={"usable": loop.usable + teaches, "marks": loop.marks_with(fact)})


def on_crowned(loop: Loop, fact: Crowned, now: float) -> Loop:
    """A new reign begins; one that is older than the reign known is not news."""
    if fact.at <= loop.reign_since or fact.version == loop.champion:
        return loop
    return loop.model_copy(
        update={
            "champion": fact.version,
            "reign_since": fact.at,
            "drifted": False,
            "clock": loop.clock or now,
        }
    )


def on_progress(loop: Loop, event: TrainingProgressed, now: float, policy: Trigger) -> Loop:
    """The trainer is at work, or gave the request up."""
    if loop.asked is None or event.request_id != loop.asked.request_id:
        return loop
    if event.state in ("skipped", "failed"):
        return give_up(loop, now, policy)
    return loop.model_copy(update={"asked": loop.asked.model_copy(update={"heard_at": now})})


def on_candidate(loop: Loop, event: CandidateTrained, now: float) -> Loop:
    """A version is there, with its labels. If the request asked for it, the verdict on it may be known already."""
    loop = loop.model_copy(update={"labels": loop.labels | set(event.labels)})
    if loop.asked is None or event.request_id != loop.asked.request_id:
        return loop
    if event.version in loop.verdicts:
        return loop.model_copy(update={"asked": None})
    return loop.model_copy(
        update={"asked": loop.asked.model_copy(update={"candidate": event.version, "heard_at": now})}
    )


def on_verdict(loop: Loop, event: VerdictReached) -> Loop:
    """The request is answered, if the verdict is on its candidate."""
    verdicts = (*loop.verdicts, event.candidate)[-MAX_VERDICTS:]
    answered = loop.asked is not None and loop.asked.candidate == event.candidate
    return loop.model_copy(update={"verdicts": verdicts, **({"asked": None} if answered else {})})


def give_up(loop: Loop, now: float, policy: Trigger) -> Loop:
    """The request came to nothing: its examples wait again."""
    if loop.asked is None:
        return loop
    return loop.model_copy(
        update={
            "asked": None,
            "taken": loop.asked.taken_before,
            "wait_usable": loop.usable + policy.every_min_examples,
            "wait_until": now + policy.every_seconds,
        }
    )


def is_silent(loop: Loop, now: float) -> bool:
    """Whether nothing was heard of the request for too long."""
    return loop.asked is not None and now - loop.asked.heard_at >= TIMEOUT_S


def may_ask(loop: Loop, now: float, policy: Trigger) -> bool:
    """Whether any trigger could fire now; spares the tests on slices when not."""
    held_back = loop.usable < loop.wait_usable and now < loop.wait_until
    return (
        loop.champion is not None
        and loop.asked is None
        and not held_back
        and loop.waiting >= min(policy.min_examples, policy.every_min_examples)
    )


def decide(loop: Loop, now: float, policy: Trigger, rises: list[Rise]) -> Loop:
    """Ask for an increment when there is reason to: the first of drift, enough examples, a slice, the clock.

    Drift comes first, since it is answered in another way: the trainer begins anew from the base.
    """
    if not may_ask(loop, now, policy):
        return loop
    if loop.drifted and loop.waiting >= policy.every_min_examples:
        return _ask(loop, now, "drift", f"errors rose among solicited answers; {loop.waiting} new usable examples")
    if loop.waiting >= policy.min_examples:
        return _ask(loop, now, "examples", f"{loop.waiting} new usable examples")
    if loop.waiting < policy.every_min_examples:
        return loop
    if rises:
        worst = min(rises, key=lambda found: found.p_value)
        return _ask(loop, now, "slice", _describe(worst))
    if now - loop.clock >= policy.every_seconds:
        return _ask(loop, now, "schedule", f"{now - loop.clock:.0f} s since the last; {loop.waiting} new examples")
    return loop


def _ask(loop: Loop, now: float, trigger: Reason, detail: str) -> Loop:
    request_id = short_hash(loop.model, trigger, loop.champion or "", str(loop.usable), str(loop.requests))
    asked = Asked(request_id=request_id, trigger=trigger, detail=detail, at=now, heard_at=now, taken_before=loop.taken)
    return loop.model_copy(
        update={
            "asked": asked,
            "taken": loop.usable,
            "requests": loop.requests + 1,
            "clock": now,
            "drifted": False,
            "wait_usable": 0,
            "wait_until": 0.0,
        }
    )


def _describe(found: Rise) -> str:
    return (
        f"{found.slice} fails {found.recent.wrong} of {found.recent.judged}, "
        f"{found.before.wrong} of {found.before.judged} before (p = {found.p_value:.1e})"
    )[:500]
