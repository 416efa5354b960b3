"""What reviewers make of the golden anchor: rows that they add, whose right output they change, or that they retire.

What the newest edit of an input says holds, whatever the model's card and its users say of it. What was ever in the
anchor stays on its side: a retired row judges nothing and teaches nothing, so that adding it again finds it unlearned.
To retire what was never in it says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, select
from sqlmodel import col

from services.recorder.datasets import vouch
from services.recorder.heads import Class
from services.recorder.labels import Named
from services.recorder.sql import among, chunks
from shared.policy import People, PolicyFile
from shared.tables import Example, Review, Vouched
from shared.text import class_of


@dataclass(frozen=True)
class Edit:
    """One reviewer's word on one row; without a `target` it retires the row."""

    at: datetime
    event_id: str
    model: str
    text: str
    target: str | None
    reviewer: str
    app: str | None = None

    @property
    def moment(self) -> tuple[datetime, str]:
        """Where it stands among all decisions."""
        return self.at, self.event_id


@dataclass
class Edited:
    """What edits touched: examples, classes whose side may be another one, labels that a reviewer may have named."""

    examples: set[str] = field(default_factory=set)
    classes: set[Class] = field(default_factory=set)
    labels: set[Named] = field(default_factory=set)


def in_force(edits: Iterable[Edit], rules: People) -> list[Edit]:
    """The edits of one row that hold, oldest first: all, or each by which a second reviewer agrees with a first."""
    ordered = sorted(edits, key=lambda edit: edit.moment)
    if rules.two == "no":
        return ordered
    return [one for place, one in enumerate(ordered) if any(_agree(other, one, rules) for other in ordered[:place])]


def _agree(first: Edit, second: Edit, rules: People) -> bool:
    """Whether two people said the same, the second soon enough after the first."""
    names = first.reviewer != second.reviewer
    keys = rules.two == "names" or (None not in (first.app, second.app) and first.app != second.app)
    return first.target == second.target and names and keys and second.at - first.at <= timedelta(hours=rules.hours)


def edits_on(connection: Connection, ids: Sequence[str], policies: PolicyFile) -> dict[str, list[Edit]]:
    """The edits that hold on each of at most one chunk of inputs, oldest first; inputs without any are left out."""
    query = select(
        col(Review.subject), col(Review.occurred_at), col(Review.event_id), col(Review.model), col(Review.text),
        col(Review.decision), col(Review.target), col(Review.reviewer), col(Review.app),
    ).where(among(connection, Review.subject, ids), col(Review.subject_kind) == "anchor")  # fmt: skip
    told: dict[str, list[Edit]] = defaultdict(list)
    for subject, at, event_id, model, text, decision, target, reviewer, app in connection.execute(query) if ids else ():
        right = None if decision == "retire" else (target or "").strip()
        told[subject].append(Edit(at, event_id, model, text or "", right, reviewer, app))
    held = {example: in_force(some, policies.of(some[0].model).people) for example, some in told.items()}
    return {example: some for example, some in held.items() if some}


def settle(connection: Connection, ids: Iterable[str], policies: PolicyFile) -> Edited:
    """Give each of these inputs that reviewers put into the anchor its row in `example`, whatever was there before."""
    edited = Edited()
    for some in chunks(ids):
        added = {
            example: first
            for example, edits in edits_on(connection, some, policies).items()
            if (first := next((edit for edit in edits if edit.target is not None), None))
        }
        cards = _cards(connection, list(added))
        edited.labels |= _ruled(connection, list(added))
        vouch(connection, [cards.get(example) or _row(example, added[example]) for example in added])
        edited.examples |= added.keys()
        edited.classes |= {(first.model, class_of(example)) for example, first in added.items()}
    return edited


def _row(example: str, first: Edit) -> Vouched:
    return Vouched(
        example_id=example,
        model=first.model,
        text=first.text,
        target=first.target or "",
        origin="anchor",
        request_id=first.event_id,
        occurred_at=first.at,
    )


def _cards(connection: Connection, ids: Sequence[str]) -> dict[str, Vouched]:
    """The rows among these that came with the model, as rows of the anchor."""
    query = select(
        col(Vouched.example_id), col(Vouched.model), col(Vouched.text), col(Vouched.target), col(Vouched.request_id),
        col(Vouched.occurred_at),
    ).where(among(connection, Vouched.example_id, ids))  # fmt: skip
    found = connection.execute(query).mappings() if ids else ()
    return {row["example_id"]: Vouched(**row, origin="anchor") for row in found}


def _ruled(connection: Connection, ids: Sequence[str]) -> set[Named]:
    """The labels that these inputs had by a reviewer, who may have let the model learn them."""
    query = select(col(Example.model), col(Example.target)).where(
        among(connection, Example.id, ids), col(Example.reviewed).is_not(None), col(Example.target).is_not(None)
    )
    found = connection.execute(query) if ids else ()
    return {(model, target) for model, target in found if target is not None}
