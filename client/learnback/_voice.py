"""What an app can say: the methods that both clients share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

Sent = TypeVar("Sent")
FEEDBACK = "/v1/feedback"
PREDICTIONS = "/v1/predictions"


class Voice(ABC, Generic[Sent]):
    """Each method queues one event and returns its id (`AsyncClient`: an awaitable of it).

    `user` is your own id of the user, of which the service keeps only a keyed hash. `tags` are short names and values
    to look at slices by. With an `event_id` of your own, saying the same thing twice counts once.
    """

    @abstractmethod
    def _say(self, path: str, event_id: str | None, body: Callable[[], Mapping[str, Any]]) -> Sent:
        """Queue one event. `body` is called under the guard that keeps errors from the app."""

    def _feedback(
        self,
        kind: str,
        prediction_id: str,
        value: object,
        user: str | None,
        tags: Mapping[str, str] | None,
        event_id: str | None,
    ) -> Sent:
        body = {"prediction_id": prediction_id, "kind": kind, "value": value, "user": user, "tags": tags}
        return self._say(FEEDBACK, event_id, lambda: body)

    def thumbs(
        self,
        prediction_id: str,
        value: Literal["up", "down"],
        *,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """Right or wrong, in the user's eyes."""
        return self._feedback("thumbs", prediction_id, value, user, tags, event_id)

    def rating(
        self,
        prediction_id: str,
        value: int,
        *,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """One to five stars."""
        return self._feedback("rating", prediction_id, value, user, tags, event_id)

    def correction(
        self,
        prediction_id: str,
        value: str,
        *,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """What the output should have been; equal to the output when it was right."""
        return self._feedback("correction", prediction_id, value, user, tags, event_id)

    def preference(
        self,
        prediction_id: str,
        *,
        chosen: str,
        rejected: str,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """Two outputs, of which the user likes the first better."""
        value = {"chosen": chosen, "rejected": rejected}
        return self._feedback("preference", prediction_id, value, user, tags, event_id)

    def comment(
        self,
        prediction_id: str,
        value: str,
        *,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """Free words."""
        return self._feedback("comment", prediction_id, value, user, tags, event_id)

    def prediction(
        self,
        prediction_id: str,
        *,
        model: str,
        version: str,
        input: str,
        output: str,
        scores: Iterable[tuple[str, float]] = (),
        solicit: bool = False,
        solicit_rate: float = 0.0,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_id: str | None = None,
    ) -> Sent:
        """What a model of your own answered; `scores` are labels with shares of belief, highest first."""
        return self._say(
            PREDICTIONS,
            event_id,
            lambda: {
                "prediction_id": prediction_id,
                "model": model,
                "version": version,
                "input": input,
                "output": output,
                "scores": [{"label": label, "score": score} for label, score in scores],
                "solicit": solicit,
                "solicit_rate": solicit_rate,
                "user": user,
                "tags": tags,
            },
        )
