"""The demo's story: a folder of texts and right outputs, cut into first examples, golden anchor, and what users ask."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from cli.examples import FIELDS, read_rows
from local.demo.scenarios import EXTRACT, INTENT, Scenario, kind_of
from schemas.events import Task
from shared.datasets import Row
from shared.errors import BadInputError
from shared.text import fingerprint, normalise

HELP_DESK = INTENT.data
KNOWN_SHARE = 0.6  # kinds of questions that the first version learns; the others begin to arrive later
SEEDS, ANCHORS = 10, 3  # texts of a kind
KINDS: dict[Task, str] = {"classification": "labels", "generation": "intents"}
NAMES = {HELP_DESK: "help-desk", EXTRACT.data: "letters"}


@dataclass(frozen=True)
class Story:
    """What happens in one demo. `known` and `labels` are kinds of questions: labels, or the intents of outputs."""

    dataset: str
    seeds: tuple[Row, ...]
    anchor: tuple[Row, ...]
    stream: tuple[Row, ...]
    distinct: int
    known: tuple[str, ...]
    labels: tuple[str, ...]
    scenario: Scenario = INTENT

    def labels_at(self, index: int) -> list[str]:
        """The labels that users know of when a question of the stream is asked."""
        return list(self.known if index < _known_alone(len(self.stream), self.scenario) else self.labels)


def read_story(folder: Path, predictions: int, seed: int, scenario: Scenario = INTENT) -> Story:
    """Cut a folder's `train.jsonl` and `test.jsonl` into a story of so many predictions.

    A folder with fewer texts than predictions has users who ask the same again, as real ones do; each round is in a
    new order.

    Raises:
        BadInputError: a file is missing or wrong, or has too few texts for a label.
    """
    chance, task = random.Random(seed), scenario.task
    by_label: defaultdict[str, list[Row]] = defaultdict(list)
    for name in ("train.jsonl", "test.jsonl"):
        for row in _read(folder / name, task):
            by_label[kind_of(row, task)].append(row)
    few = min(by_label, key=lambda label: len(by_label[label]))
    if len(by_label) < 5 or len(by_label[few]) < 2 * (SEEDS + ANCHORS):
        raise BadInputError(
            "too_little_data",
            f"{folder}: the demo needs at least 5 {KINDS[task]} with {2 * (SEEDS + ANCHORS)} texts each; '{few}' has"
            f" {len(by_label[few])}.",
        )
    for label in sorted(by_label):
        chance.shuffle(by_label[label])
    labels = sorted(by_label)
    chance.shuffle(labels)
    known = labels[: round(KNOWN_SHARE * len(labels))]
    taken: set[str] = set()
    seeds = tuple(row for label in known for row in _take(by_label[label], SEEDS, taken))
    anchor = tuple(row for label in known for row in _take(by_label[label], ANCHORS, taken))
    before = [row for label in known for row in by_label[label]]
    new = [row for label in labels[len(known) :] for row in by_label[label]]
    alone = _known_alone(predictions, scenario)
    first = list(islice(_rounds(before, chance), alone))
    asked = {row.text for row in first}
    unseen = [row for row in before if row.text not in asked] or before
    second = list(islice(_rounds([*unseen, *new], chance), predictions - alone))
    stream = (*first, *second)
    return Story(
        NAMES.get(folder, folder.resolve().name),
        seeds,
        anchor,
        stream,
        len({normalise(row.text) for row in stream}),
        tuple(known),
        tuple(labels),
        scenario,
    )


def _known_alone(predictions: int, scenario: Scenario) -> int:
    """How many questions are asked before new kinds come."""
    return int(predictions * scenario.news_after)


def _read(path: Path, task: Task) -> list[Row]:
    """The rows of a file; those of SNIPS and its like have intent and slots beside the text, which are the output."""
    try:
        first = json.loads(path.read_bytes().partition(b"\n")[0])
    except (OSError, ValueError):
        first = {}
    if task == "classification" or not {"intent", "slots"} <= set(first):
        return read_rows(path, task)
    rows = map(json.loads, path.read_text("utf-8").splitlines())
    return [Row(text=row["text"], label=_json({name: row[name] for name in ("intent", "slots")})) for row in rows]


def write_rows(path: Path, rows: Sequence[Row], task: Task = "classification") -> None:
    """Write rows as JSONL."""
    lines = (_json({"text": row.text, FIELDS[task]: row.label}) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _take(rows: list[Row], count: int, taken: set[str]) -> list[Row]:
    """Take the first `count` rows that nearly repeat nothing that was taken before; they leave the list."""
    found: list[Row] = []
    for row in list(rows):
        if len(found) < count and fingerprint(row.text) not in taken:
            taken.add(fingerprint(row.text))
            found.append(row)
            rows.remove(row)
    return found


def _rounds(rows: Sequence[Row], chance: random.Random) -> Iterator[Row]:
    """The rows again and again, each round in a new order."""
    for _ in count():
        yield from chance.sample(rows, len(rows))
