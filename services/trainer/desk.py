"""From a training request to a frozen snapshot: waits for SQL to know the request, then chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session, select

from schemas.events import ModelStateChanged, TrainingRequested
from services.trainer.selection import new_rows, replay_rows, texts_of
from services.trainer.snapshot import Snapshot, freeze, frozen
from shared.crash import crash_point
from shared.policy import PolicyFile
from shared.states import States
from shared.tables import DeadLetter, ModelRow, Request, StateChange, Version
from shared.text import short_hash

TASK = "classification"


class NotYetError(Exception):
    """SQL does not know the request or the champion yet; ask again."""


class NothingToLearnError(Exception):
    """The request leads to no new version; the reason says why."""


@dataclass(frozen=True)
class Desk:
    """What is needed to prepare a job."""

    engine: Engine
    policies: PolicyFile
    states: Callable[[], States]
    snapshots: Path

    def prepare(self, request: TrainingRequested, origin: str) -> tuple[Snapshot, dict[str, str]]:
        """The request's snapshot, frozen now or before a crash, and the inputs its ids name.

        `origin` is the request's topic/partition/offset, by which the recorder's dead letters know it.

        Raises:
            NotYetError: the recorder has not come so far, or the database is away.
            NothingToLearnError: there is nothing to train, or it was trained and judged before.
        """
        try:
            with Session(self.engine) as session:
                snapshot = frozen(request.request_id, self.snapshots)
                if snapshot is None:
                    snapshot = self._choose(session, request, origin)
                    freeze(snapshot, self.snapshots)
                    crash_point("trainer.after_snapshot")
                texts = texts_of(session, snapshot.ids)
        except (OperationalError, InterfaceError) as error:
            raise NotYetError(f"the database does not answer ({type(error).__name__})") from None
        if missing := snapshot.ids - set(texts):
            (self.snapshots / f"{request.request_id}.json").unlink()  # erased or withdrawn: choose again without them
            raise NotYetError(f"{len(missing)} examples are gone")
        return snapshot, texts

    def _choose(self, session: Session, request: TrainingRequested, origin: str) -> Snapshot:
        if refused := session.get(DeadLetter, f"{origin}/recorder"):
            raise NothingToLearnError(f"The recorder put the request to the dead letters: {refused.reason}.")
        if session.get(Request, request.request_id) is None:
            raise NotYetError("the request is not recorded")
        model = session.get(ModelRow, request.model)
        if model is None:  # a card is recorded along with its request, and before later requests for its model
            raise NothingToLearnError("No model of that name was added.")
        if model.task != TASK:
            raise NothingToLearnError(f"The trainer learns {TASK} only, and the model's task is {model.task}.")
        champion = self.states().get((request.model, "champion"))
        if champion is None and request.card is None:
            raise NothingToLearnError("The model has no champion to start from.")
        if champion is not None and not _recorded(session, champion):
            raise NotYetError("the champion is not recorded")
        policy = self.policies.of(request.model)
        new = new_rows(session, request.model, policy)
        if not new:
            raise NothingToLearnError("No example is new to the champion.")
        replay = []
        if champion is not None:
            labels = _labels(session, champion.version)
            count = max(policy.training.min_replay, len(new))
            replay = replay_rows(session, request.model, labels, count, short_hash("replay", request.request_id))
        snapshot = Snapshot(
            request_id=request.request_id,
            model=request.model,
            task=model.task,
            base=model.base,
            parent=champion.version if champion else None,
            parent_manifest=champion.manifest_sha256 if champion else None,
            new=tuple(row.lesson for row in new),
            replay=tuple(row.lesson for row in replay),
            config=policy.training,
        )
        known = session.get(Version, snapshot.version)
        if known is not None and known.request_id != request.request_id:
            raise NothingToLearnError(f"The same examples already made {snapshot.version}.")
        return snapshot


def _recorded(session: Session, champion: ModelStateChanged) -> bool:
    """Whether SQL has come to the change that made this champion, and to the version itself."""
    change = session.exec(select(StateChange.event_id).where(StateChange.event_id == champion.event_id)).first()
    return change is not None and session.get(Version, champion.version) is not None


def _labels(session: Session, version: str) -> list[str]:
    row = session.get(Version, version)
    return row.labels if row else []
