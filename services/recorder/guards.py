"""What a class of near-duplicates tells against its members: a pure function of who spoke of which first, and when.

Many who vote on one text are voices on one example and make one lesson. Whoever wants many lessons must vary the text,
and near-duplicates share a fingerprint. Two rules, absolute and by event time:

- `near_duplicate`: the same user spoke first of an earlier input of the class within a day. It is the same vote again.
- `burst`: at least so many inputs of the class were first spoken of, each by another user, within so many seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.policy import Trust

AGAIN = timedelta(days=1)


class First(NamedTuple):
    """The first word on an input: when, of which event, on which input, and by whom."""

    at: datetime
    event_id: str
    example_id: str
    user_key: str | None


def marks(words: Iterable[First], policy: Trust) -> dict[str, str]:
    """Example → the rule that its class holds against it, for those that have one."""
    ordered = sorted(words)
    found = dict.fromkeys(_repeated(ordered), "near_duplicate")
    return found | dict.fromkeys(_in_bursts(ordered, policy), "burst")


def _repeated(ordered: Sequence[First]) -> list[str]:
    last: dict[str, datetime] = {}
    again = []
    for word in ordered:
        if word.user_key is None:
            continue
        if word.user_key in last and word.at - last[word.user_key] <= AGAIN:
            again.append(word.example_id)
        last[word.user_key] = word.at
    return again


def _in_bursts(ordered: Sequence[First], policy: Trust) -> set[str]:
    """Inputs within any window that holds enough speakers; one pass, as the window's start only moves on."""
    within = timedelta(seconds=policy.burst_seconds)
    found: set[str] = set()
    speakers: dict[str, int] = {}
    start = 0
    for end, word in enumerate(ordered):
        speakers[_speaker(word)] = speakers.get(_speaker(word), 0) + 1
        while word.at - ordered[start].at > within:
            gone = _speaker(ordered[start])
            speakers[gone] -= 1
            if not speakers[gone]:
                del speakers[gone]
            start += 1
        if len(speakers) >= policy.burst_inputs:
            found |= {one.example_id for one in ordered[start : end + 1]}
    return found


def _speaker(word: First) -> str:
    return word.user_key or word.event_id
