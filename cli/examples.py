"""Read files of texts and right outputs, and say of a bad one: which file, which line, what is wrong, what to do.

A row for a classifier has a `label`. One for a model that writes text has an `output`: text, or a JSON object or array,
which is written as `json.dumps(output, ensure_ascii=False)` writes it. No message repeats a text, since it may be a
user's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from schemas.events import MAX_LABEL, Label, Task
from shared.datasets import Row
from shared.errors import BadInputError
from shared.grading import same_output
from shared.text import fingerprint, normalise

MIN_LABELS = 2
MIN_PER_LABEL = 2  # one to learn from and one to choose the epoch by
FIELDS: dict[Task, str] = {"classification": "label", "generation": "output"}
SHAPES: dict[Task, str] = {
    "classification": 'each line is {"text": "…", "label": "…"}',
    "generation": 'each line is {"text": "…", "output": "…"}, where an output may be a JSON object or array',
}


def read_examples(path: Path, task: Task) -> list[Row]:
    """The rows of a JSONL file, fit to train a task on.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    rows = read_rows(path, task)
    if task == "classification":
        rows = _with_labels(path, rows)
        _check_counts(path, rows)
    _check_contradictions(path, rows, FIELDS[task])
    return rows


def read_anchor(path: Path, task: Task, examples: Sequence[Row]) -> list[Row]:
    """The rows of a golden anchor: no text of it is among the examples, nor nearly so.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    rows = read_rows(path, task)
    learned = {fingerprint(row.text) for row in examples}
    for number, row in enumerate(rows, 1):
        if fingerprint(row.text) in learned:
            raise _wrong(path, "the same words are among the examples; remove them from one of the two files", number)
    if task == "classification":
        rows = _with_labels(path, rows)
        labels = {row.label for row in examples}
        for number, row in enumerate(rows, 1):
            if row.label not in labels:
                raise _wrong(path, "its label is not among those of the examples; give examples of it", number)
    _check_contradictions(path, rows, FIELDS[task])
    return rows


def read_rows(path: Path, task: Task = "classification") -> list[Row]:
    """The rows of a JSONL file, one a line, with whatever labels or outputs they have.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    try:
        lines = path.read_bytes().rstrip().split(b"\n")
    except OSError as error:
        why = f"cannot be read ({error.strerror}); give the path of a JSONL file: {SHAPES[task]}"
        raise _wrong(path, why) from None
    if lines == [b""]:
        raise _wrong(path, f"is empty; give a JSONL file: {SHAPES[task]}")
    return [_read_row(path, number, line, task) for number, line in enumerate(lines, 1)]


def _read_row(path: Path, number: int, line: bytes, task: Task) -> Row:
    try:
        return Row.model_validate_json(line) if task == "classification" else _written(from_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = FIELDS[task] if first["loc"][:1] == ("label",) else ".".join(str(part) for part in first["loc"])
        reason = f"'{field}' {first['msg'][0].lower()}{first['msg'][1:]}" if field else "is not a JSON object"
        raise _wrong(path, f"{reason}; {SHAPES[task]}", number) from None
    except ValueError:
        raise _wrong(path, f"is not a JSON object; {SHAPES[task]}", number) from None


def _written(said: Any) -> Row:
    """A row whose output is text, whatever it was.

    Raises:
        ValidationError: it is no object, or a field of it is wrong; the output goes by the name of a label.
    """
    if not isinstance(said, dict):
        return Row.model_validate(said)
    row = {("label" if name == "output" else name): value for name, value in said.items() if name != "label"}
    if isinstance(output := row.get("label"), dict | list):
        row["label"] = json.dumps(output, ensure_ascii=False)
    return Row.model_validate(row)


def _with_labels(path: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows with their labels as events carry them."""
    label, clean = TypeAdapter[str](Label), []
    for number, row in enumerate(rows, 1):
        try:
            clean.append(Row(text=row.text, label=label.validate_python(row.label)))
        except ValidationError:
            raise _wrong(path, f"'label' is blank or longer than {MAX_LABEL} characters; shorten it", number) from None
    return clean


def _check_contradictions(path: Path, rows: Sequence[Row], field: str) -> None:
    """The same text never has two outputs, and none has nothing."""
    seen: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        if not row.label.strip():
            raise _wrong(path, f"'{field}' is blank; say what is right", number)
        line, first = seen.setdefault(normalise(row.text), (number, row.label))
        if not same_output(row.label, first):
            raise _wrong(path, f"the same text has another {field} on line {line}; keep the right one", number)


def _check_counts(path: Path, rows: Sequence[Row]) -> None:
    counts = Counter(row.label for row in rows)
    if len(counts) < MIN_LABELS:
        raise _wrong(path, f"all lines have the same label; a classifier needs at least {MIN_LABELS}")
    for number, row in enumerate(rows, 1):
        if counts[row.label] < MIN_PER_LABEL:
            raise _wrong(path, f"no other line has its label; give at least {MIN_PER_LABEL} examples of each", number)


def _wrong(path: Path, reason: str, line: int | None = None) -> BadInputError:
    place = f"{path}:{line}" if line else str(path)
    return BadInputError("bad_examples", f"{place}: {reason}.", "examples")
