"""Ask the collector for a new model."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from schemas.events import ModelCard
from shared.errors import BadInputError, UnavailableError

TIMEOUT_S = 30.0


def request_training(collector: str, key: str, model: str, card: ModelCard) -> str:
    """Post the request for a model's first version; returns its id.

    Raises:
        BadInputError: the collector refuses it; says why.
        UnavailableError: the collector does not answer, or cannot take it now.
    """
    try:
        response = httpx.post(
            f"{collector.rstrip('/')}/v1/training-requests",
            json={"model": model, "card": card.model_dump(mode="json")},
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(
            f"No collector answers at {collector} ({type(error).__name__}). Start it (make local), or name another"
            " with --collector."
        ) from None
    if response.status_code == HTTPStatus.ACCEPTED:
        return str(response.json()["request_id"])
    problem = f"The collector at {collector} refused the model ({response.status_code}): {_reason(response)}"
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise UnavailableError(problem)
    raise BadInputError("refused", problem)


def _reason(response: httpx.Response) -> str:
    try:
        problem = response.json()
    except ValueError:
        return response.reason_phrase
    return str(problem.get("detail") or problem.get("title") or response.reason_phrase)
