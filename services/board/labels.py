"""A model's labels: what each one stands for now, how many examples it has, and which version knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, case, func, select
from sqlmodel import Session, col

from services.board.database import records, rows
from services.board.lineage import marks
from shared import label_schema
from shared.label_schema import EVERY_LABEL
from shared.tables import Example, ModelRow, Version, could_be_label


@dataclass(frozen=True)
class LabelFacts:
    """One label. `into` is the label that it was merged into; `served`: the champion may still answer it."""

    name: str
    lessons: int
    evidence: int
    into: str | None
    retired: bool
    served: bool

    @property
    def stands(self) -> bool:
        """Whether it is a label of the model as reviewers let it be."""
        return self.into is None and not self.retired

    @property
    def state(self) -> str:
        """Where it stands, in words."""
        if self.stands:
            return "stands" if self.served else "not learned yet"
        state = "retired" if self.into is None else f"merged into {self.into}"
        return f"{state}, from the next version on" if self.served else state


def labels(engine: Engine, model: str) -> tuple[LabelFacts, ...]:
    """Every label that the model may learn, that its champion knows, or that a reviewer decided on, by name."""
    with Session(engine) as session:
        schema = label_schema.schemas(session, [model]).get(model, EVERY_LABEL)
    (found,) = records(engine, select(ModelRow).where(col(ModelRow.name) == model))
    served, counts = _served(engine, model), _counts(engine, model)
    return tuple(
        LabelFacts(
            name=name,
            lessons=counts.get(name, (0, 0))[0],
            evidence=counts.get(name, (0, 0))[1],
            into=schema.standing(name) if schema.standing(name) != name else None,
            retired=schema.standing(name) is None,
            served=name in served,
        )
        for name in sorted({*found.labels, *served, *schema.into})
    )


def _served(engine: Engine, model: str) -> frozenset[str]:
    reigns = marks(engine, model)
    if not reigns:
        return frozenset()
    known = rows(engine, select(col(Version.labels)).where(col(Version.version) == reigns[-1].version))
    return frozenset(label for (some,) in known for label in some)


def _counts(engine: Engine, model: str) -> dict[str, tuple[int, int]]:
    """Label → its lessons, and the rows that versions are judged on."""
    of_status = [func.sum(case((col(Example.status) == status, 1), else_=0)) for status in ("train", "holdout")]
    found = rows(
        engine,
        select(col(Example.target), *of_status)
        .where(col(Example.model) == model, could_be_label(col(Example.target)))
        .group_by(col(Example.target)),
    )
    return {label: (int(lessons), int(evidence)) for label, lessons, evidence in found}
