"""New inputs of which one voice spoke: by far the most, and judged from the batch alone.

Whoever is judged here is written once, as it would stand after `examples.settle` had read it back: nothing was known of
the input before, so its one vote, if it is one, its side and a reviewer's early word are all there is. Inputs with
several votes take the general way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from sqlalchemy import Connection

from services.recorder import evidence, examples
from services.recorder.curation import Curated
from services.recorder.evidence import Evidence
from services.recorder.heads import Newcomer
from services.recorder.join import Joined
from services.recorder.rows import Row, insert
from services.recorder.sql import chunks
from services.recorder.votes import Vote
from shared import label_schema
from shared.policy import PolicyFile
from shared.tables import Example


def add(
    connection: Connection,
    newcomers: Mapping[str, Newcomer],
    votes: Iterable[Joined],
    counted: frozenset[str],
    policies: PolicyFile,
    held: Counter[str],
) -> set[str]:
    """Write new inputs; those that are judged by it. `held` counts what goes into quarantine, by rule."""
    alone = lonely(connection, newcomers, votes)
    known = _evidence(connection, [newcomers[key] for key in alone], counted)
    schemas = label_schema.schemas(connection, {one.model for one in known})
    known = [evidence.standing(one, schemas[one.model]) if one.model in schemas else one for one in known]
    judged = examples.judge(connection, known, policies, held)
    others = newcomers.keys() - set(alone)
    insert(connection, Example, chain(_judged(newcomers, judged), (newcomers[key].row for key in sorted(others))))
    return set(alone)


def _judged(newcomers: Mapping[str, Newcomer], judged: Iterable[tuple[Evidence, Curated]]) -> Iterator[Row]:
    """The rows of those that are judged, as they are asked for."""
    for one, made in judged:
        yield newcomers[one.id].row | examples.columns(made)


def lonely(connection: Connection, newcomers: Mapping[str, Newcomer], votes: Iterable[Joined]) -> list[str]:
    """Those whose first word is their only vote, or no vote and there is none; no reviewer has decided on them."""
    voices = Counter(one.answer.example_id for one in votes)
    ruled = {example for ids in chunks(newcomers) for example in evidence.rulings_on(connection, ids)}
    return [key for key, one in newcomers.items() if voices[key] == (one.word.target is not None) and key not in ruled]


def _evidence(connection: Connection, newcomers: Sequence[Newcomer], counted: frozenset[str]) -> list[Evidence]:
    knowledge = evidence.labels_of(connection, {one.word.answer.version for one in newcomers})
    return [
        Evidence(
            id=one.word.answer.example_id,
            model=one.word.answer.model,
            origin="feedback",
            side=one.side,
            graduated=False,
            votes=(_vote(one.word, knowledge),) if one.word.event_id in counted else (),
            ruling=None,
            vouched=None,
            guard=one.guard,
            capped=one.word.target is not None,
        )
        for one in newcomers
    ]


def _vote(word: Joined, knowledge: Mapping[str, frozenset[str]]) -> Vote:
    assert word.target is not None
    known = knowledge.get(word.answer.version)
    return Vote(
        event_id=word.event_id,
        occurred_at=word.occurred_at,
        prediction_id=word.prediction_id,
        user_key=word.user_key,
        kind=word.kind,
        target=word.target,
        solicited=word.answer.solicited,
        wrong=bool(word.wrong),
        score=word.answer.score,
        knew=not known or word.target in known,
    )
