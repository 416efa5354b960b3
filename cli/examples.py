"""Read files of labelled texts, and say of a bad one: which file, which line, what is wrong, what to do.

No message repeats a text, since it may be a user's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from schemas.events import Label, Task
from shared.datasets import Row
from shared.errors import BadInputError
from shared.text import fingerprint, normalise

MIN_LABELS = 2
MIN_PER_LABEL = 2  # one to learn from and one to choose the epoch by
SHAPE = 'each line is {"text": "…", "label": "…"}'


def read_examples(path: Path, task: Task) -> list[Row]:
    """The rows of a JSONL file, fit to train a task on.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    rows = read_rows(path)
    if task == "classification":
        rows = _with_labels(path, rows)
        _check_counts(path, rows)
    return rows


def read_anchor(path: Path, task: Task, examples: Sequence[Row]) -> list[Row]:
    """The rows of a golden anchor: no text of it is among the examples, nor nearly so.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    rows = read_rows(path)
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
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file, one a line, with whatever labels they have.

    Raises:
        BadInputError: with the file, the line and the reason.
    """
    try:
        lines = path.read_bytes().rstrip().split(b"\n")
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror}); give the path of a JSONL file: {SHAPE}") from None
    if lines == [b""]:
        raise _wrong(path, f"is empty; give a JSONL file: {SHAPE}")
    return [_read_row(path, number, line) for number, line in enumerate(lines, 1)]


def _read_row(path: Path, number: int, line: bytes) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = f"'{field}' {first['msg'][0].lower()}{first['msg'][1:]}" if field else "is not a JSON object"
        raise _wrong(path, f"{reason}; {SHAPE}", number) from None


def _with_labels(path: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows with their labels as events carry them; the same text never has two."""
    label, clean = TypeAdapter[str](Label), []
    seen: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        try:
            clean.append(Row(text=row.text, label=label.validate_python(row.label)))
        except ValidationError:
            raise _wrong(path, "'label' is blank or longer than 200 characters; shorten it", number) from None
        line, first = seen.setdefault(normalise(row.text), (number, clean[-1].label))
        if first != clean[-1].label:
            raise _wrong(path, f"the same text has another label on line {line}; keep the right one", number)
    return clean


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
