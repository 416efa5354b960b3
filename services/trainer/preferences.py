"""What models that write text learn beside right outputs: which output is better, and which one is liked or not.

`corrected` outputs are worse than what users made of them, `pairs` are outputs of which users preferred one, `thumbs`
are outputs that users liked or not, by thumbs and stars. Voices are weighed as votes are (`shared.trust`) and agree by
what they say; where half as much weight says the opposite, or where the right output is known and contradicts them,
they are dropped. What a version of the line learned is not read again: versions list it by event id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from services.trainer.hearing import Voice, corrected, hear, trust_of
from services.trainer.selection import within_user_share
from shared.grading import meaning, same_output
from shared.policy import Policy, Trust
from shared.trust import UNKNOWN, combined, vote_weight

__all__ = ["Pair", "Thumb", "corrected", "pairs", "thumbs"]

OPPOSED = 0.5  # what the opposite weighs, of the weight of what is said, from which on it is a dispute


@dataclass(frozen=True)
class Pair:
    """Two outputs for one input, of which users prefer the first. `ids` are the events that say so."""

    ids: tuple[str, ...]
    example_id: str
    input: str
    chosen: str
    rejected: str
    weight: float


@dataclass(frozen=True)
class Thumb:
    """An output for one input that users like, or do not. `ids` are the events that say so."""

    ids: tuple[str, ...]
    example_id: str
    input: str
    output: str
    liked: bool
    weight: float


Stance = tuple[Hashable, bool]  # a question, and which of its two answers
Settled = tuple[tuple[str, ...], Voice, float]  # the events that say so, the newest voice, and the weight of them all


def pairs(
    session: Session,
    model: str,
    most: int,
    policy: Policy,
    line: Collection[str] = (),
    only: Collection[str] | None = None,
) -> list[Pair]:
    """Preferences that no version of `line` has learned, made of at most `most` voices, the newest first.

    `only` these events, when a training that was cut short begins again.
    """
    heard = hear(session, model, ("preference",), most, line, only)
    settled = _settle(session, model, [one for one in heard if not same_output(*one.outputs)], policy, _order)
    found = [Pair(ids, one.example_id, one.input, *one.outputs, weight) for ids, one, weight in settled]
    targets = {one.example_id: one.target for one in heard}
    return [one for one in found if not same_output(one.rejected, targets[one.example_id] or "")]


def thumbs(
    session: Session,
    model: str,
    most: int,
    policy: Policy,
    line: Collection[str] = (),
    only: Collection[str] | None = None,
) -> list[Thumb]:
    """Likes and dislikes that no version of `line` has learned, made of at most `most` voices, the newest first.

    `only` these events, when a training that was cut short begins again.
    """
    heard = [one for one in hear(session, model, ("thumbs", "rating"), most, line, only) if one.wrong is not None]
    return [
        Thumb(ids, one.example_id, one.input, one.output, not one.wrong, weight)
        for ids, one, weight in _settle(session, model, heard, policy, _liking)
        if one.target is None or same_output(one.output, one.target) is not one.wrong
    ]


def _order(voice: Voice) -> Stance:
    """Which of two outputs is better."""
    better, other = map(meaning, voice.outputs)
    return (voice.example_id, *sorted((better, other))), better < other


def _liking(voice: Voice) -> Stance:
    """Whether an output is liked."""
    return (voice.example_id, meaning(voice.output)), not voice.wrong


def _settle(
    session: Session, model: str, heard: Sequence[Voice], policy: Policy, stance: Callable[[Voice], Stance]
) -> list[Settled]:
    """What enough voices say on each question, by the last word of each speaker; `heard` is newest first."""
    heard = within_user_share(heard, policy.trust.user_share)
    trusted = trust_of(session, model, heard)
    questions: dict[Hashable, dict[str, tuple[bool, Voice]]] = defaultdict(dict)
    for voice in heard:
        question, side = stance(voice)
        questions[question].setdefault(voice.speaker, (side, voice))
    answers = (_answer([*said.values()], trusted, policy.trust) for said in questions.values())
    return [answer for answer in answers if answer is not None]


def _answer(said: Sequence[tuple[bool, Voice]], trusted: Mapping[str, float], trust: Trust) -> Settled | None:
    """The heavier side's voices, its newest, and the weight as curation has it; None when few or divided."""

    def weights(side: bool) -> list[float]:
        return [vote_weight(trusted.get(one.user or "", UNKNOWN), one.kind) for of, one in said if of is side]

    yes, no = weights(True), weights(False)
    wins = sum(yes) > sum(no)
    winner, loser = (yes, sum(no)) if wins else (no, sum(yes))
    voices = [one for side, one in said if side is wins]
    if loser >= sum(winner) * OPPOSED or not _enough(voices, trust):
        return None
    return tuple(one.id for one in voices), voices[0], combined(winner) * sum(winner) / (sum(winner) + loser)


def _enough(voices: Sequence[Voice], trust: Trust) -> bool:
    named = sum(one.user is not None for one in voices)
    return named >= trust.quorum or len(voices) - named >= trust.anonymous_quorum
