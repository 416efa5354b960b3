"""Where the board listens, where it sends decisions, and who decides."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.events import Name


class BoardSettings(BaseSettings):
    """Settings of the board, read from `LEARNBACK_BOARD_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_BOARD_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8730, ge=1, le=65535, description="Port to listen on.")
    collector_url: str = Field(default="http://127.0.0.1:8710", description="Where decisions go.")
    recorder_url: str = Field(default="http://127.0.0.1:8711", description="Where the recorder shows its metrics.")
    predictor_url: str = Field(default="http://127.0.0.1:8720", description="Where the predictor shows its metrics.")
    key_file: Path = Field(default=Path(".learnback/board.key"), description="Holds an API key with scope review.")
    reviewer: Name | None = Field(default=None, description="Who decides; the review page asks when it is not set.")
