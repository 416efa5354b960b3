"""The predictor's own settings."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PredictorSettings(BaseSettings):
    """Read from `LEARNBACK_PREDICTOR_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_PREDICTOR_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8720, description="Port to listen on.")
    threads: int = Field(default=0, ge=0, description="Cores to compute on; 0 means all.")
    max_batch: int = Field(default=32, ge=1, description="Most inputs in one forward.")
    max_batch_ms: int = Field(default=50, ge=1, description="Longest forward that inputs are put together for.")
    max_queue: int = Field(default=512, ge=1, description="Inputs that may wait; beyond, 503 with Retry-After.")
