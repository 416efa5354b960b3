"""The trainer's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainerSettings(BaseSettings):
    """Read from `LEARNBACK_TRAINER_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_TRAINER_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address of the probes.")
    port: int = Field(default=8713, description="Port of the probes.")
    work_dir: Path = Field(
        default=Path(".learnback/trainer"),
        description="What running trainings chose, and unfinished adapters; each replica its own.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="What to train on; auto: a GPU where CUDA finds one, else the CPU."
    )
    checkpoint_s: float = Field(
        default=60.0, gt=0, description="Seconds of training until it is first, and then next, written how far it is."
    )
    threads: int = Field(
        default=0, ge=0, description="Cores to train on; 0: those that are free when a training starts."
    )
