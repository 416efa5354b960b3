"""What models that write text learn beside right outputs: which output is better, and which one is liked or not.

`corrected` outputs are worse than what users made of them, `pairs` are outputs of which users preferred one, `thumbs`
are outputs that users liked or not, by thumbs and stars. Voices are weighed as votes are (`shared.trust`) and agree by
what they say; where half as much weight says the opposite, or where the right output is known and contradicts them,
they are dropped. Versions list what they learned by event id: a question on which nothing else was said since is not
learned again, and one on which something was is settled with all that was said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import NamedTuple

from sqlmodel import Session

from services.trainer.hearing import Voice, corrected, hear, trust_of
from services.trainer.selection import within_user_share
from services.trainer.snapshot import Pair, Thumb
from services.trainer.start import Start
from shared.grading import meaning, same_output
from shared.policy import Policy, Trust
from shared.trust import UNKNOWN, combined, vote_weight

__all__ = ["corrected", "opinions", "pairs", "thumbs"]

OPPOSED = 0.5  # what the opposite weighs, of the weight of what is said, from which on it is a dispute

Stance = tuple[Hashable, bool]  # a question, and which of its two answers


class Settled(NamedTuple):
    """An answer: all events that were heard on its question, the newest that gives it, and what it weighs."""

    ids: tuple[str, ...]
    voice: Voice
    weight: float


def opinions(session: Session, model: str, policy: Policy, start: Start) -> tuple[tuple[Pair, ...], tuple[Thumb, ...]]:
    """What users said of outputs and a training from here may learn: nothing where there are labels, or no champion."""
    if start.version is None or start.labels or start.refresh:
        return (), ()
    wanted = policy.training
    preferred = pairs(session, model, policy, start.line) if wanted.preference else ()
    return preferred, thumbs(session, model, policy, start.line) if wanted.liking else ()


def pairs(session: Session, model: str, policy: Policy, line: Collection[str]) -> tuple[Pair, ...]:
    """Preferences among the newest `max_new`, of which no version of `line` has learned all that was said."""
    heard = hear(session, model, ("preference",), policy.training.max_new, line)
    settled = _settle(session, model, [one for one in heard if not same_output(*one.outputs)], policy, _order)
    found = (
        Pair(ids=ids, example_id=one.example_id, weight=weight, chosen=one.outputs[0], rejected=one.outputs[1])
        for ids, one, weight in settled
    )
    targets = {one.example_id: one.target for one in heard}
    return tuple(one for one in found if not same_output(one.rejected, targets[one.example_id] or ""))


def thumbs(session: Session, model: str, policy: Policy, line: Collection[str]) -> tuple[Thumb, ...]:
    """Likes and dislikes among the newest `max_new`, of which no version of `line` has learned all that was said."""
    heard = hear(session, model, ("thumbs", "rating"), policy.training.max_new, line)
    settled = _settle(session, model, [one for one in heard if one.wrong is not None], policy, _liking)
    return tuple(
        Thumb(ids=ids, example_id=one.example_id, weight=weight, output=one.output, liked=not one.wrong)
        for ids, one, weight in settled
        if one.target is None or same_output(one.output, one.target) is not one.wrong
    )


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
    """What enough voices say on each question with news, by the last word of each speaker; `heard` is newest first."""
    questions: dict[Hashable, dict[str, list[Voice]]] = defaultdict(lambda: defaultdict(list))
    for voice in heard:
        questions[stance(voice)[0]][voice.speaker].append(voice)
    waiting = _waiting(heard, [words for speakers in questions.values() for words in speakers.values()], policy)
    trusted = trust_of(session, model, heard)
    settled = []
    for speakers in questions.values():
        said = [words for words in speakers.values() if words[0].id not in waiting]
        last = [(stance(words[0])[1], words[0]) for words in said]
        if all(voice.learned for _, voice in last):
            continue
        if answer := _answer(last, trusted, policy.trust):
            voice, weight = answer
            others = sorted({one.id for words in said for one in words} - {voice.id})
            settled.append(Settled((voice.id, *others), voice, weight))
    return settled


def _waiting(heard: Sequence[Voice], spoken: Sequence[Sequence[Voice]], policy: Policy) -> set[str]:
    """Those last words that are beyond their user's share of what is new."""
    last = {words[0].id for words in spoken if not words[0].learned}
    new = [one for one in heard if one.id in last]
    return last - {one.id for one in within_user_share(new, policy.trust.user_share)}


def _answer(
    said: Sequence[tuple[bool, Voice]], trusted: Mapping[str, float], trust: Trust
) -> tuple[Voice, float] | None:
    """The newest voice of the heavier side, and the weight as curation has it; None when few or divided."""

    def weights(side: bool) -> list[float]:
        return [vote_weight(trusted.get(one.user or "", UNKNOWN), one.kind) for of, one in said if of is side]

    yes, no = weights(True), weights(False)
    wins = sum(yes) > sum(no)
    winner, loser = (yes, sum(no)) if wins else (no, sum(yes))
    voices = [one for side, one in said if side is wins]
    if loser >= sum(winner) * OPPOSED or not _enough(voices, trust):
        return None
    return voices[0], combined(winner) * sum(winner) / (sum(winner) + loser)


def _enough(voices: Sequence[Voice], trust: Trust) -> bool:
    named = sum(one.user is not None for one in voices)
    return named >= trust.quorum or len(voices) - named >= trust.anonymous_quorum
