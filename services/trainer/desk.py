"""From a training request to a frozen snapshot: waits for SQL to know the request, then chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session, select

from schemas.events import ModelStateChanged, TrainingRequested
from services.trainer.hearing import inputs_of, judged
from services.trainer.origins import Origins, origins_of
from services.trainer.preferences import corrected, opinions
from services.trainer.selection import Row, lessons, lessons_of, new_rows, replay_rows, texts_of
from services.trainer.snapshot import Snapshot, freeze, frozen, replay_size
from services.trainer.start import NothingToLearnError, Start, replay_seed, start_of
from shared.crash import crash_point
from shared.lm.loading import TASKS
from shared.policy import PolicyFile, Training
from shared.states import States
from shared.tables import DeadLetter, ModelRow, Receipt, Request, StateChange, Version


class NotYetError(Exception):
    """SQL does not know the request or the champion yet; ask again."""


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
                snapshot = self._begun(session, request)
                if snapshot is None:
                    snapshot = self._choose(session, request, origin)
                    freeze(snapshot, self.snapshots)
                    crash_point("trainer.after_snapshot")
                texts = inputs_of(session, (one.example_id for one in snapshot.opinions))
                texts |= texts_of(session, snapshot.ids)
        except (OperationalError, InterfaceError) as error:
            raise NotYetError(f"the database does not answer ({type(error).__name__})") from None
        if snapshot.ids - set(texts):
            raise self._spoiled(request)
        return snapshot, texts

    def _begun(self, session: Session, request: TrainingRequested) -> Snapshot | None:
        """What was chosen before a crash, with the outputs that SQL has."""
        choice = frozen(request.request_id, self.snapshots)
        if choice is None:
            return None
        targets = {example: target for example, (target, _) in lessons_of(session, choice.outline.ids).items()}
        outline = choice.outline
        snapshot = choice.filled(targets, _rejected(session, outline), judged(session, outline.heard))
        if snapshot is None:
            raise self._spoiled(request)
        return snapshot

    def _spoiled(self, request: TrainingRequested) -> NotYetError:
        """Some of what was chosen is erased, withdrawn or judged anew: choose again."""
        (self.snapshots / f"{request.request_id}.json").unlink()
        return NotYetError("some of what was chosen is gone, or says something else")

    def erasures(self) -> int:
        """How often a user was erased so far; −1 when the database does not answer, so that one looks again."""
        try:
            with Session(self.engine) as session:
                return session.exec(select(func.count()).select_from(Receipt)).one()
        except (OperationalError, InterfaceError):
            return -1

    def origins(self, snapshot: Snapshot) -> Origins:
        """The events that a snapshot's examples go back to.

        Raises:
            NotYetError: the database is away.
        """
        try:
            with Session(self.engine) as session:
                return origins_of(session, snapshot.ids, snapshot.heard)
        except (OperationalError, InterfaceError) as error:
            raise NotYetError(f"the database does not answer ({type(error).__name__})") from None

    def forget(self, snapshot: Snapshot, erasures: int) -> bool:
        """Whether a user was erased since there were so many erasures, who had a part in the snapshot; then it goes.

        An example that only such a user gave is gone, and one that others gave too weighs less without the user. An
        opinion in which such a user had a say is another one.

        Raises:
            NotYetError: the database is away.
        """
        try:
            if self.erasures() == erasures or self._as_frozen(snapshot):
                return False
        except (OperationalError, InterfaceError) as error:
            raise NotYetError(f"the database does not answer ({type(error).__name__})") from None
        (self.snapshots / f"{snapshot.request_id}.json").unlink(missing_ok=True)
        return True

    def _as_frozen(self, snapshot: Snapshot) -> bool:
        with Session(self.engine) as session:
            now, heard = lessons_of(session, snapshot.ids), judged(session, snapshot.heard)
        stand = all(now.get(one.id) == (one.target, one.weight) for one in (*snapshot.new, *snapshot.replay))
        return stand and heard.keys() == set(snapshot.heard)

    def _choose(self, session: Session, request: TrainingRequested, origin: str) -> Snapshot:
        if refused := session.get(DeadLetter, f"{origin}/recorder"):
            raise NothingToLearnError(f"The recorder put the request to the dead letters: {refused.reason}.")
        if session.get(Request, request.request_id) is None:
            raise NotYetError("the request is not recorded")
        model = session.get(ModelRow, request.model)
        if model is None:  # a card is recorded along with its request, and before later requests for its model
            raise NothingToLearnError("No model of that name was added.")
        if model.task not in TASKS:
            raise NothingToLearnError(f"The trainer learns {', '.join(TASKS)}, and the model's task is {model.task}.")
        champion = self.states().get((request.model, "champion"))
        if champion is None and request.card is None:
            raise NothingToLearnError("The model has no champion to start from.")
        if champion is not None and not _recorded(session, champion):
            raise NotYetError("the champion is not recorded")
        policy = self.policies.of(request.model)
        start = start_of(session, request, champion, model.task, policy.training)
        new = new_rows(session, request.model, policy, start.unlearned)
        preferred, liked = opinions(session, request.model, policy, start)
        if not (new or preferred or liked):
            raise NothingToLearnError("No example is new to the champion.")
        replay = _replayed(session, request, start, len(new), policy.training)
        said = lessons([*new, *replay])
        snapshot = Snapshot(
            request_id=request.request_id,
            model=request.model,
            task=model.task,
            base=model.base,
            parent=start.version,
            parent_manifest=start.manifest_sha256,
            refresh=start.refresh,
            regrouped=start.regrouped,
            new=said[: len(new)],
            replay=said[len(new) :],
            pairs=preferred,
            thumbs=liked,
            config=policy.training,
        )
        targets = {row.id: row.target for row in (*new, *replay)}
        outputs = judged(session, snapshot.heard)
        snapshot = snapshot.with_outputs(targets, _rejected(session, snapshot), outputs)
        known = session.get(Version, snapshot.version)
        if known is not None and known.request_id != request.request_id:
            raise NothingToLearnError(f"The same examples already made {snapshot.version}.")
        return snapshot


def _replayed(session: Session, request: TrainingRequested, start: Start, new: int, rules: Training) -> list[Row]:
    """What is learned again: as much as is new, and more to fit the head to; for a refresh all, up to a limit."""
    if start.version is None:
        return []
    if start.refresh:
        count = max(0, rules.refresh_rows - new)
    else:
        count = replay_size(rules, new) * (rules.head_replay if start.labels else 1)
    return replay_rows(session, request.model, start.labels, count, replay_seed(request), start.unlearned)


def _rejected(session: Session, snapshot: Snapshot) -> dict[str, str]:
    """What was corrected of the new examples of a model without labels."""
    known = session.get(Version, snapshot.parent) if snapshot.parent else None
    if known is None or known.labels:
        return {}
    return corrected(session, [lesson.id for lesson in snapshot.new])


def _recorded(session: Session, champion: ModelStateChanged) -> bool:
    """Whether SQL has come to the change that made this champion, and to the version itself."""
    change = session.exec(select(StateChange.event_id).where(StateChange.event_id == champion.event_id)).first()
    return change is not None and session.get(Version, champion.version) is not None
