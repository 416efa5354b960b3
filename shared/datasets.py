"""Examples that a person vouches for, as files in the artifact store: named by what is in them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from schemas.events import Dataset, Input, Output, Record
from shared.artifacts import ArtifactStore
from shared.envelope import describe
from shared.errors import ArtifactError, BadInputError

EXAMPLES = "examples.jsonl"


class Row(Record):
    """One input and its right output."""

    text: Input
    label: Output


def store_dataset(store: ArtifactStore, rows: Sequence[Row]) -> Dataset:
    """Store rows; the same rows are the same dataset.

    Raises:
        BadInputError: there is no row.
    """
    if not rows:
        raise BadInputError("empty_dataset", "A dataset needs at least one row.", "rows")
    content = "".join(f"{row.model_dump_json()}\n" for row in rows).encode()
    digest = hashlib.sha256(content).hexdigest()
    uri = f"datasets/{digest[:32]}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / EXAMPLES).write_bytes(content)
        manifest = store.put(uri, Path(folder), {"kind": "dataset", "rows": len(rows)})
    return Dataset(uri=uri, sha256=manifest, rows=len(rows))


def read_dataset(store: ArtifactStore, dataset: Dataset) -> list[Row]:
    """The rows of a dataset that an event names.

    Raises:
        ArtifactError: it is missing, altered, or not what the event says.
    """
    folder, _ = store.get(dataset.uri, dataset.sha256)
    try:
        lines = (folder / EXAMPLES).read_bytes().splitlines()
    except FileNotFoundError:
        raise ArtifactError(f"{dataset.uri} has no {EXAMPLES}.") from None
    rows = [_row(line, f"{dataset.uri}/{EXAMPLES}, line {number}") for number, line in enumerate(lines, 1)]
    if len(rows) != dataset.rows:
        raise ArtifactError(f"{dataset.uri} has {len(rows)} rows where {dataset.rows} were announced.")
    return rows


def _row(line: bytes, where: str) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        raise ArtifactError(f"{where}: {describe(error)}.") from None
