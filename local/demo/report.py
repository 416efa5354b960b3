"""The demo's report: what the loop made of the feedback, as a table and as JSON, and whether it closed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from shared.errors import FatalError

TITLES = {
    "compared": "predictions compared at either end",
    "accuracy_first": "served accuracy, first of them",
    "accuracy_last": "served accuracy, last of them",
    "accuracy_v0_last": "… of the first version on the same texts",
    "accuracy_joint_ceiling": "… of one LoRA trained at once on all lessons",
    "feedback_to_fix_p50_s": "feedback to fix, median",
    "feedback_to_fix_p95_s": "feedback to fix, 95th percentile",
    "train_examples_per_s": "training speed of the increments",
    "swap_failed_requests": "requests that failed (swaps included)",
    "wall_s": "wall time, from the first version's training on",
}


@dataclass(frozen=True)
class Report:
    """The figures of one demo. Accuracies are shares, times seconds, the others counts."""

    dataset: str
    predictions: int
    distinct_texts: int
    feedback_accepted: int
    feedback_stored: int
    lost: int
    duplicates: int
    increments: int
    promotions: int
    rejections: int
    inconclusive: int
    compared: int
    accuracy_first: float
    accuracy_last: float
    accuracy_v0_last: float
    accuracy_joint_ceiling: float
    labels_at_start: int
    labels_at_end: int
    corrections_fixed: int
    corrections_open: int
    feedback_to_fix_p50_s: float | None
    feedback_to_fix_p95_s: float | None
    train_examples_per_s: float | None
    swap_failed_requests: int
    wall_s: float

    def table(self) -> Table:
        """For people."""
        table = Table("figure", "value", title=f"What the loop made of the feedback ({self.dataset})")
        table.columns[1].justify = "right"
        for name, value in asdict(self).items():
            table.add_row(TITLES.get(name, name.replace("_", " ")), _shown(name, value))
        return table

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    def failures(self) -> list[str]:
        """Why the loop did not close; empty when it did."""
        found = []
        for count, what in (
            (self.lost, "accepted events are not in SQL"),
            (self.duplicates, "events are in SQL twice"),
            (self.swap_failed_requests, "requests to predict failed"),
        ):
            if count:
                found.append(f"{count} {what}.")
        if not self.promotions:
            found.append("No candidate was promoted.")
        if self.accuracy_last <= self.accuracy_v0_last:
            found.append("The model that served at the end is no better than the first version.")
        return found


def make_room(path: Path) -> None:
    """See, before minutes are spent, that a report can be written.

    Raises:
        FatalError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise FatalError(f"The report cannot be written to {path} ({error.strerror}); give another REPORT.") from None


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none yet"
    if isinstance(value, float):
        if name.startswith("accuracy"):
            return f"{value:.1%}"
        return f"{value:,.1f} examples/s" if name.endswith("per_s") else f"{value:,.1f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)
