"""Which labels a model may learn: those of its first examples, of its versions, of reviewers, and of enough users.

What a reviewer retired or merged into another label is not among them, whoever names it (see `shared.label_schema`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlmodel import col

from shared import label_schema
from shared.label_schema import EVERY_LABEL, LabelSchema
from shared.policy import PolicyFile
from shared.tables import Example, FeedbackRow, ModelRow, Review, Version, Vouched, could_be_label

Named = tuple[str, str]  # model and label


@dataclass(frozen=True)
class Ruled:
    """What decisions on labels changed: labels whose standing is to be looked at, and examples."""

    labels: frozenset[Named]
    examples: frozenset[str]


def of_models(connection: Connection, models: Iterable[str]) -> dict[str, frozenset[str]]:
    """The labels of each model that has any; the others take every output."""
    query = select(col(ModelRow.name), col(ModelRow.labels)).where(col(ModelRow.name).in_(sorted(set(models))))
    return {name: frozenset(labels) for name, labels in connection.execute(query) if labels}


def mentioned(connection: Connection, model: str) -> set[str]:
    """Every label that anything calls right: asked once, when a model is added."""
    targets = [
        select(col(table.target)).where(col(table.model) == model, could_be_label(col(table.target)))
        for table in (Vouched, FeedbackRow, Example)
    ]
    found = {label for query in targets for label in connection.execute(query.distinct()).scalars()}
    versions = connection.execute(select(col(Version.labels)).where(col(Version.model) == model)).scalars()
    schema = label_schema.schemas(connection, [model]).get(model, EVERY_LABEL)
    return {label for label in found.union(*versions, schema.named) if label is not None}


def settle(connection: Connection, fresh: set[Named], doubtful: set[Named], policies: PolicyFile) -> set[str]:
    """Admit or withdraw labels; the examples with a target whose standing changed.

    `fresh` labels got new votes and can only rise; `doubtful` ones may have lost what admitted them.
    """
    asked: dict[str, set[str]] = defaultdict(set)
    for model, label in doubtful | fresh:
        asked[model].add(label)
    query = select(col(ModelRow.name), col(ModelRow.task), col(ModelRow.labels)).where(
        col(ModelRow.request_id).is_not(None)
    )
    waiting: set[str] = set()
    schemas = label_schema.schemas(connection, asked)
    for model, task, labels in connection.execute(query.where(col(ModelRow.name).in_(sorted(asked)))).all():
        open_ = {label for label in asked[model] if label not in labels or (model, label) in doubtful}
        if task != "classification" or not open_:
            continue
        admitted = _admitted(connection, model, open_, policies.of(model).trust.new_label_users)
        schema = schemas.get(model, EVERY_LABEL)
        admitted = {label for label in admitted | (open_ & schema.named) if schema.standing(label) == label}
        if changed := (admitted ^ (open_ & set(labels))):
            now = sorted((set(labels) - open_) | admitted)
            connection.execute(update(ModelRow).where(col(ModelRow.name) == model).values(labels=now))
            affected = select(col(Example.id)).where(
                col(Example.model) == model, col(Example.target).in_(changed), could_be_label(col(Example.target))
            )
            waiting |= set(connection.execute(affected).scalars())
    return waiting


def ruled(connection: Connection, models: Iterable[str], before: Mapping[str, LabelSchema]) -> Ruled:
    """What reviewers' decisions on labels changed, since there were these schemas."""
    labels: set[Named] = set()
    examples: set[str] = set()
    for model, schema in label_schema.schemas(connection, models).items():
        was = before.get(model, EVERY_LABEL)
        changed = {one for one in was.into.keys() | schema.into.keys() if was.standing(one) != schema.standing(one)}
        labels |= {(model, label) for label in changed | was.named | schema.named}
        examples |= _named(connection, model, changed)
    return Ruled(frozenset(labels), frozenset(examples))


def _named(connection: Connection, model: str, labels: Iterable[str]) -> set[str]:
    """The examples of which anybody said that one of these labels is right."""
    wanted = sorted(labels)
    queries = (
        select(col(FeedbackRow.example_id)).where(col(FeedbackRow.model) == model, _one_of(FeedbackRow, wanted)),
        select(col(Vouched.example_id)).where(col(Vouched.model) == model, _one_of(Vouched, wanted)),
        select(col(Review.subject)).where(
            col(Review.model) == model,
            col(Review.subject_kind).in_(["example", "anchor"]),
            col(Review.target).in_(wanted),
        ),
    )
    return {one for query in queries for one in connection.execute(query).scalars() if one is not None}


def _one_of(table: type[FeedbackRow | Vouched], labels: Sequence[str]) -> ColumnElement[bool]:
    """As the index of the table by its label says it."""
    return col(table.target).in_(labels) & could_be_label(col(table.target))


def _admitted(connection: Connection, model: str, labels: set[str], users: int) -> set[str]:
    """Those labels that something admits. A user counts once whatever the cap, so late votes take nothing back."""
    by_seeds = select(col(Vouched.target)).where(
        col(Vouched.model) == model,
        col(Vouched.target).in_(labels),
        could_be_label(col(Vouched.target)),
        col(Vouched.origin) == "seed",
    )
    by_reviewers = select(col(Example.target)).where(
        col(Example.model) == model,
        col(Example.target).in_(labels),
        could_be_label(col(Example.target)),
        col(Example.reviewed).is_not(None),  # as its index says
        col(Example.reviewed).in_(["accept", "relabel"]),
        col(Example.status).in_(["train", "holdout"]),
    )
    by_users = (
        select(col(FeedbackRow.target))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.target).in_(labels),
            could_be_label(col(FeedbackRow.target)),
        )
        .group_by(col(FeedbackRow.target))
        .having(func.count(col(FeedbackRow.user_key).distinct()) >= users)
        .having(func.count(col(FeedbackRow.example_id).distinct()) >= users)
    )
    admitted = {
        label
        for query in (by_seeds, by_reviewers, by_users)
        for label in connection.execute(query.distinct()).scalars()
    }
    if admitted != labels:
        by_versions = connection.execute(select(col(Version.labels)).where(col(Version.model) == model)).scalars()
        admitted |= labels.intersection(*[{label for known in by_versions for label in known}])
    return {label for label in admitted if label is not None}
