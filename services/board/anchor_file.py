"""The golden anchor as a file: CSV or JSONL that people and spreadsheets read, and what a file changes in it. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from services.board.anchor import Anchor, AnchorRow
from shared.datasets import Row
from shared.envelope import describe
from shared.errors import BadInputError
from shared.text import normalise

FIELDS = ("text", "label")  # as `learnback models add --anchor` reads them
MOST = 1000  # changes that one file may bring: each is an event, and takes milliseconds


@dataclass(frozen=True)
class Change:
    """One edit of the anchor that a file asks for."""

    decision: Literal["add", "relabel", "retire"]
    row: AnchorRow


def to_jsonl(rows: Iterable[AnchorRow]) -> str:
    """A JSON object a line."""
    return "".join(json.dumps(dict(zip(FIELDS, _cells(row), strict=True)), ensure_ascii=False) + "\n" for row in rows)


def to_csv(rows: Iterable[AnchorRow]) -> str:
    """A head and a line a row, as RFC 4180 says."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows([FIELDS, *map(_cells, rows)])
    return written.getvalue()


def read(name: str, content: bytes) -> tuple[AnchorRow, ...]:
    """The rows of a file, which is CSV if it is called so, else JSONL.

    Raises:
        BadInputError: with the file, the line and what is wrong there.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong(name, None, "is not UTF-8 text; save it as CSV or JSONL in UTF-8") from None
    found = list(_csv(name, text) if name.lower().endswith(".csv") else _jsonl(name, text))
    if not found:
        raise _wrong(name, None, "has no row; give one a line, with a text and its label")
    seen: dict[str, int] = {}
    for line, row in found:
        if (first := seen.setdefault(normalise(row.text), line)) != line:
            raise _wrong(name, line, f"the same text is on line {first}; keep one of them")
    return tuple(row for _, row in found)


def changes(now: Anchor, wanted: Sequence[AnchorRow], retire: bool) -> tuple[Change, ...]:
    """What makes the anchor as the file has it; rows that the file lacks stay, unless they shall be retired.

    Raises:
        BadInputError: that would be too many at once.
    """
    there = {normalise(row.text): row for row in now.rows}
    found = []
    for row in wanted:
        old = there.pop(normalise(row.text), None)
        if old is None:
            found.append(Change("add", row))
        elif old.target != row.target.strip():
            found.append(Change("relabel", row))
    if retire:
        found += [Change("retire", row) for row in there.values()]
    if len(found) > MOST:
        raise BadInputError("too_many_changes", f"The file changes {len(found):,} rows, more than {MOST:,}: split it.")
    return tuple(found)


def _cells(row: AnchorRow) -> tuple[str, str]:
    return row.text, row.target


def _jsonl(name: str, text: str) -> Iterator[tuple[int, AnchorRow]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, _row(Row.model_validate_json(line))
        except ValidationError as error:
            raise _wrong(name, number, describe(error)) from None


def _csv(name: str, text: str) -> Iterator[tuple[int, AnchorRow]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not set(FIELDS) <= set(reader.fieldnames or ()):
            raise _wrong(name, 1, f"the head must name the columns {' and '.join(FIELDS)}")
        for cells in reader:
            yield reader.line_num, _row(Row.model_validate({field: cells[field] for field in FIELDS}))
    except ValidationError as error:
        raise _wrong(name, reader.line_num, describe(error)) from None
    except csv.Error as error:
        raise _wrong(name, reader.reader.line_num, str(error)) from None


def _row(row: Row) -> AnchorRow:
    return AnchorRow(row.text, row.label.strip())


def _wrong(name: str, line: int | None, reason: str) -> BadInputError:
    return BadInputError("bad_anchor", f"{name}{f':{line}' if line else ''}: {reason}.", "file")
