"""Where a training starts: from the champion, from an ancestor that the request names, or anew from the base.

A joint refresh starts from the base, on what is new and a sample of all that the champion's line has learned. It is due
after so many promotions, since increments add up what each of them lost, and sooner when the world drifts. A champion
that was itself made from the base, or nearly so, has nothing to be refreshed of: drift is answered with an increment
then, in a fifth of the time. A refresh that the gate did not promote counts: the next is due as many promotions later.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from sqlalchemy import func
from sqlmodel import Session, col, select

from schemas.events import ModelStateChanged, TrainingRequested
from shared.label_schema import EVERY_LABEL, schemas
from shared.policy import Training
from shared.tables import Progress, Version
from shared.text import short_hash

SOONER = 4  # times, when there is drift
REFRESH = "refresh"  # the trigger of a candidate that is a joint refresh, whatever asked for an increment


class NothingToLearnError(Exception):
    """The request leads to no new version; the reason says why."""


@dataclass(frozen=True)
class Start:
    """The version that a candidate is to replace, and the versions after it whose lessons it has not had.

    `line` are that version and its ancestors, `labels` its labels that stand, and `regrouped` those that do not, with
    what they were merged into. Training goes on from that version, or with `refresh` from the base.
    """

    version: str | None = None
    manifest_sha256: str | None = None
    unlearned: frozenset[str] = frozenset()
    line: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    regrouped: tuple[tuple[str, str | None], ...] = ()
    refresh: bool = False


def start_of(
    session: Session, request: TrainingRequested, champion: ModelStateChanged | None, task: str, rules: Training
) -> Start:
    """Where the training that a request asks for starts.

    Raises:
        NothingToLearnError: the version that the request names is no ancestor of the champion.
    """
    if champion is None:
        return Start()
    after: list[str] = []
    version: Version | None = session.get(Version, champion.version)
    while version is not None and request.parent not in (None, version.version):
        after.append(version.version)
        version = session.get(Version, version.parent) if version.parent else None
    if version is None:
        raise NothingToLearnError(f"{request.parent} is no ancestor of the champion {champion.version}.")
    schema = schemas(session, [version.model]).get(version.model, EVERY_LABEL)
    labels = frozenset(label for label in map(schema.standing, version.labels) if label is not None)
    gone = tuple((label, schema.standing(label)) for label in version.labels if schema.standing(label) != label)
    refresh = request.parent is None and task == "classification" and _is_due(session, request, version, rules)
    refresh |= bool(version.labels) and not labels  # a head without a row is none to go on from
    return Start(
        version=version.version,
        manifest_sha256=version.manifest_sha256,
        unlearned=frozenset(after),
        line=_line(session, version),
        labels=labels,
        regrouped=() if refresh else gone,
        refresh=refresh,
    )


def _line(session: Session, version: Version | None) -> tuple[str, ...]:
    """A version, its parent, and so on to the first."""
    line: list[str] = []
    while version is not None:
        line.append(version.version)
        version = session.get(Version, version.parent) if version.parent else None
    return tuple(line)


def replay_seed(request: TrainingRequested) -> str:
    """What names the sample of learned examples that a request's training takes."""
    return short_hash("replay", request.request_id)


def _is_due(session: Session, request: TrainingRequested, champion: Version, rules: Training) -> bool:
    """Whether a classifier is to be trained anew. A text model is not: its preferences and thumbs are not replayed."""
    if rules.refresh_every == 0 or _failed_before(session, request):
        return False
    after = ceil(rules.refresh_every / SOONER) if request.trigger == "drift" else rules.refresh_every
    return _promotions(session, champion, after) >= after


def _failed_before(session: Session, request: TrainingRequested) -> bool:
    """Whether the model's last training failed: a refresh that always does must not keep increments away."""
    others = select(Progress.state).where(Progress.model == request.model, Progress.request_id != request.request_id)
    return session.exec(others.order_by(col(Progress.occurred_at).desc()).limit(1)).first() == "failed"


def _promotions(session: Session, champion: Version, most: int) -> int:
    """How many increments made the champion since its model was last trained anew, or that was last tried."""
    anew = select(func.max(Version.number)).where(Version.model == champion.model, Version.trigger == REFRESH)
    since = session.exec(anew).one()
    count, version = 0, session.get(Version, champion.version)
    while version is not None and version.parent and count < most and (since is None or version.number > since):
        count += 1
        version = session.get(Version, version.parent)
    return count
