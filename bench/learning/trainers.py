"""What people do today: Hugging Face's Trainer and peft on all examples, anew each time.

`stock` is what the tutorials show: every default of TrainingArguments (batch 8, three epochs, rate 5e-5) and of peft's
LoRA for the task, texts padded to one length. `tuned` is what one who knows makes of it: padding to a batch's longest,
batches by length (`group_by_length`), 32 rows, and the rank, rate and warm-up that our own trainer has by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from bench.learning.figures import STOCK, TUNED
from bench.learning.jobs import Clock
from bench.learning.line import BASE
from bench.learning.outcomes import Retrained
from shared.datasets import Row
from shared.errors import UnavailableError
from shared.lm.bases import locate

PADDED_TO = 64  # tokens: CLINC150's longest text has fewer; the tutorials' 512 would be eight times as dear
LINEAR = ["query", "key", "value", "dense"]


@dataclass(frozen=True)
class Recipe:
    """Settings that differ from the defaults."""

    arguments: dict[str, Any]
    lora: dict[str, Any]
    padded: bool


RECIPES = {
    STOCK: Recipe({}, {}, padded=True),
    TUNED: Recipe(
        {
            "per_device_train_batch_size": 32,
            "train_sampling_strategy": "group_by_length",
            "learning_rate": 1e-3,
            "num_train_epochs": 4,
            "warmup_steps": 0.1,
            "label_smoothing_factor": 0.05,
        },
        {"r": 16, "lora_alpha": 32, "target_modules": LINEAR},
        padded=False,
    ),
}


def retrain(recipe: Recipe, rows: Sequence[Row], test: Sequence[Row]) -> Retrained:
    """Train from the base on all rows.

    Raises:
        UnavailableError: accelerate is missing, without which the Trainer does not run.
    """
    if find_spec("accelerate") is None:
        raise UnavailableError("Hugging Face's Trainer needs accelerate: install the extra `oracles`.")
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    labels = sorted({row.label for row in rows})
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as folder:
        with clock.running():
            trainer = _trainer(recipe, rows, labels, folder)
            trainer.remove_callback(PrinterCallback)  # standard output is the table's
            trainer.train()
        trainer.args.train_sampling_strategy = "random"  # by length it would put the test in another order, too
        found = trainer.predict(_encoded(trainer.processing_class, test, labels, recipe.padded)).predictions  # type: ignore[arg-type]
    right = [labels[index] == row.label for index, row in zip(numpy.argmax(found, -1), test, strict=True)]
    return Retrained(clock.seconds, 100 * sum(right) / len(right), round(trainer.args.num_train_epochs * len(rows)))


def _trainer(recipe: Recipe, rows: Sequence[Row], labels: list[str], folder: str) -> Trainer:
    path = locate(BASE)
    tokenizer = AutoTokenizer.from_pretrained(path)
    base = AutoModelForSequenceClassification.from_pretrained(path, num_labels=len(labels))
    model = get_peft_model(base, LoraConfig(task_type=TaskType.SEQ_CLS, **recipe.lora))
    arguments = TrainingArguments(
        folder,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        **recipe.arguments,
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=_encoded(tokenizer, rows, labels, recipe.padded),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def _encoded(tokenizer: Any, rows: Sequence[Row], labels: list[str], padded: bool) -> list[dict[str, Any]]:
    """Token ids, mask and number of the label of each row; a label that was not learned has number 0."""
    how = {"padding": "max_length", "max_length": PADDED_TO} if padded else {}
    found = tokenizer([row.text for row in rows], truncation=True, **how)
    number = {label: index for index, label in enumerate(labels)}
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": number.get(row.label, 0)}
        for ids, mask, row in zip(found["input_ids"], found["attention_mask"], rows, strict=True)
    ]
