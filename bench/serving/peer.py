"""The peer: a transformers pipeline behind FastAPI, called one by one. Run: python -m bench.serving.peer FOLDER PORT.

Its model is our base with a classification head of as many labels, in the numbers and on the cores that transformers
chooses. Its route is a coroutine, so that no two threads compute at once and wait for each other's cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from bench.serving.versions import BASE, LABELS
from local.layout import HOST
from shared.lm.bases import locate


class Question(BaseModel):
    """What it is asked."""

    text: str


def save(folder: Path) -> None:
    """Write its model: our base, and a head that nobody trained; what it says does not matter here."""
    torch.manual_seed(0)
    base = locate(BASE)
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(LABELS)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def create_app(folder: Path) -> FastAPI:
    """The app."""
    app = FastAPI()
    classify = pipeline("text-classification", model=str(folder))

    @app.post("/predict")
    async def predict(question: Question) -> list[dict[str, object]]:
        return list(classify(question.text, top_k=5))

    @app.get("/readyz")
    async def ready() -> str:
        return "ready"

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), host=HOST, port=int(sys.argv[2]), log_level="warning")
