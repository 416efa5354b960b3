"""Follow a model's first version from the request to the moment it serves, as the topics tell it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from schemas.events import CandidateTrained, Event, ModelStateChanged, TrainingProgressed, VerdictReached
from shared.envelope import unseal
from shared.errors import InvalidEventError, LearnbackError, UnavailableError
from shared.kafka import Bus, Follower
from shared.topics import CANDIDATES, MODELS, TRAINING_PROGRESS, VERDICTS

SILENCE_S = 300.0  # loading a base model on a busy machine takes a minute; a trainer that works speaks each few seconds


class NotServedError(LearnbackError):
    """The model's first version does not serve; says why."""


@dataclass
class Birth:
    """What is known of the version that a request asks for. Topics are read side by side, so news come in any order."""

    request_id: str
    version: str | None = None
    outcomes: dict[str, VerdictReached | ModelStateChanged] = field(default_factory=dict)

    def take(self, event: Event) -> TrainingProgressed | ModelStateChanged | None:
        """What is new for this request: progress, that its version serves, or nothing.

        Raises:
            NotServedError: the training failed, or the gate refused the version.
        """
        match event:
            case TrainingProgressed(request_id=self.request_id, state="failed" | "skipped"):
                raise NotServedError(f"The training {event.state}: {event.detail or 'no reason was given'}.")
            case TrainingProgressed(request_id=self.request_id):
                return event
            case CandidateTrained(request_id=self.request_id):
                self.version = event.version
            case VerdictReached(outcome="reject"):
                self.outcomes[event.candidate] = event
            case ModelStateChanged(alias="champion"):
                self.outcomes[event.version] = event
        outcome = self.outcomes.get(self.version or "")
        if isinstance(outcome, VerdictReached):
            raise NotServedError(f"The gate refused the model's first version: {outcome.reason}")
        return outcome


@contextmanager
def listening(bus: Bus) -> Iterator[Follower]:
    """A reader of all that a birth is told by, from now on: open it before the request, and nothing is missed."""
    with bus.follower(TRAINING_PROGRESS, CANDIDATES, VERDICTS, MODELS) as follower:
        follower.consumer.seek_to_end(*follower.parts)
        for part in follower.parts:
            follower.consumer.position(part)  # seeking is lazy: this settles where "now" is
        yield follower


def follow(bus: Bus, follower: Follower, request_id: str) -> Iterator[TrainingProgressed | ModelStateChanged]:
    """Yield the progress of a request, and at last the state that says its version serves.

    Raises:
        NotServedError: it will not serve.
        UnavailableError: nobody works on it.
    """
    birth, heard = Birth(request_id), time.monotonic()
    while time.monotonic() - heard < SILENCE_S:
        for record in follower.poll(500):
            try:
                event = unseal(record.value, record.headers, bus.topic(record.topic))
            except InvalidEventError:
                continue  # the recorder puts it to the dead letters
            news = birth.take(event)
            if news is not None:
                heard = time.monotonic()
                yield news
            if isinstance(news, ModelStateChanged):
                return
    raise UnavailableError(
        f"Nothing was heard of request {request_id} for {SILENCE_S:.0f} s; see that trainer and evaluator run."
        " The request is kept."
    )
