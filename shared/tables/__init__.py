"""What the recorder made of the topics: the SQL schema, read by trainer, evaluator and board, written by the recorder.

Fact tables hold one row an event. `example` is the curated view of all feedback on one input of a model; it is a pure
function of the facts, so that replaying the log gives the same rows.
"""

from shared.tables.books import Attempt, Consumed, DeadLetter, Erasure, LedgerRow, Receipt, Taint, consumed
from shared.tables.columns import UtcTime, could_be_label
from shared.tables.database import open_database, reason, refusal
from shared.tables.loop import (
    Decision,
    Drift,
    ErrorSlice,
    Fix,
    Lesson,
    ModelRow,
    Progress,
    Request,
    StateChange,
    Verdict,
    Version,
)
from shared.tables.release import check_release
from shared.tables.said import Example, FeedbackRow, Prediction, Review, Vouched

__all__ = [
    "Attempt",
    "Consumed",
    "DeadLetter",
    "Decision",
    "Drift",
    "Erasure",
    "ErrorSlice",
    "Example",
    "FeedbackRow",
    "Fix",
    "LedgerRow",
    "Lesson",
    "ModelRow",
    "Prediction",
    "Progress",
    "Receipt",
    "Request",
    "Review",
    "StateChange",
    "Taint",
    "UtcTime",
    "Verdict",
    "Version",
    "Vouched",
    "check_release",
    "consumed",
    "could_be_label",
    "open_database",
    "reason",
    "refusal",
]
