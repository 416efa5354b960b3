"""The predictor's question and answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from learnback._delivery import AGAIN, refusal
from learnback._errors import LearnbackError, UnavailableError
from learnback._ids import new_id


@dataclass(frozen=True)
class Score:
    """One label and the share of belief that the model gives it."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """The answer to one input; `solicit` asks the app to ask its user for feedback."""

    prediction_id: str
    model: str
    version: str
    output: str
    scores: tuple[Score, ...]
    solicit: bool


def question(
    model: str, input: str, prediction_id: str | None, user: str | None, tags: Mapping[str, str] | None
) -> dict[str, Any]:
    """The body of a request to predict."""
    body = {"model": model, "input": input, "prediction_id": prediction_id or new_id(), "user": user, "tags": tags}
    return {name: value for name, value in body.items() if value is not None}


def answer(response: httpx.Response) -> Prediction:
    """The prediction in a response.

    Raises:
        RefusedError: the request is wrong.
        UnavailableError: the predictor cannot answer now.
        LearnbackError: the answer is not a prediction.
    """
    if response.status_code >= 500 or response.status_code in AGAIN:
        raise UnavailableError(f"The predictor answered {response.status_code}; try again.")
    if not response.is_success:
        raise refusal(response)
    try:
        told = response.json()
        return Prediction(
            prediction_id=told["prediction_id"],
            model=told["model"],
            version=told["version"],
            output=told["output"],
            scores=tuple(Score(score["label"], score["score"]) for score in told["scores"]),
            solicit=told["solicit"],
        )
    except (ValueError, TypeError, KeyError):
        raise LearnbackError("What answered is not a predictor; check predictor_url.") from None


def url_of(predictor_url: str | None) -> str:
    """Where to ask.

    Raises:
        LearnbackError: the client was made without `predictor_url`.
    """
    if predictor_url is None:
        raise LearnbackError("Make the client with predictor_url=… to call predict.")
    return f"{predictor_url.rstrip('/')}/v1/predict"
