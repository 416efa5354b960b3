"""Send what users say of a language model's answers to Learnback: `Client` for threads, `AsyncClient` for asyncio."""

from __future__ import annotations

from learnback._async import AsyncClient
from learnback._errors import DroppedError, LearnbackError, RefusedError, UnavailableError
from learnback._outbox import Stats
from learnback._predictions import Prediction, Score
from learnback._sync import Client
from learnback._tokens import user_token

__all__ = [
    "AsyncClient",
    "Client",
    "DroppedError",
    "LearnbackError",
    "Prediction",
    "RefusedError",
    "Score",
    "Stats",
    "UnavailableError",
    "user_token",
]
