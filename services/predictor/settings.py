"""The predictor's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, Json, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

Address = Annotated[str, StringConstraints(pattern="^https?://")]


class PredictorSettings(BaseSettings):
    """Read from `LEARNBACK_PREDICTOR_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_PREDICTOR_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8720, description="Port to listen on.")
    threads: int = Field(default=0, ge=0, description="Cores to compute on; 0 means all.")
    max_batch: int = Field(default=32, ge=1, description="Most inputs in one forward.")
    max_batch_ms: int = Field(default=50, ge=1, description="Longest forward that inputs are put together for.")
    vllm: Json[dict[str, Address]] = Field(
        default="{}",  # type: ignore[arg-type]  # settings validate their defaults, and this type reads text
        description='Base models of text whose versions a vLLM server answers with: {"base": "http://…"}.',
    )
    vllm_folder: Path = Field(
        default=Path(".learnback/adapters"), description="Where adapters are written for vLLM to read."
    )
    vllm_sees: str | None = Field(default=None, description="What vLLM calls that folder, when another name.")
    max_queue: int = Field(default=512, ge=1, description="Inputs that may wait; beyond, 503 with Retry-After.")
