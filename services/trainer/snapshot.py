"""What one increment learns from, frozen: ids, targets and weights, never texts; and the version id that follows.

A crash in mid-training finds the frozen snapshot again, so the same request makes the same version. Targets, and the
outputs that users judged, may be a user's own words: they stay in SQL, where an erasure finds them, and are no part of
what is frozen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import Task
from shared.policy import Training

NOTHING = ("", "")  # the outputs of an opinion while it is frozen


class Frozen(BaseModel):
    """A value that does not change and whose JSON is canonical."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON, 64 hex digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Lesson(Frozen):
    """One example to learn: its id, the right output, and how much it counts.

    `rejected` is the output that was corrected, where outputs are free text: a label's correction says all by itself.
    `voice` tells what one user gave from what others did, by a number that means nothing elsewhere.
    """

    id: str
    target: str
    weight: float
    rejected: str | None = None
    voice: int | None = None


class Pair(Frozen):
    """Two outputs for one input, of which users prefer the first.

    `ids` are all events that were heard on the question, first the one whose outputs these are.
    """

    ids: tuple[str, ...] = Field(min_length=1)
    example_id: str
    weight: float
    chosen: str
    rejected: str

    def saying(self, outputs: tuple[str, str]) -> Pair:
        """The same preference of other outputs."""
        return self.model_copy(update={"chosen": outputs[0], "rejected": outputs[1]})


class Thumb(Frozen):
    """An output for one input that users like, or do not. `ids` as a pair's."""

    ids: tuple[str, ...] = Field(min_length=1)
    example_id: str
    weight: float
    output: str
    liked: bool

    def saying(self, outputs: tuple[str, str]) -> Thumb:
        """The same thumb on another output."""
        return self.model_copy(update={"output": outputs[0]})


class Snapshot(Frozen):
    """Everything that decides what an increment becomes, but for the texts, which the ids name.

    `parent` is the champion that it is to replace. Training goes on from there, but for a `refresh`: from the base.
    `regrouped` says of the parent's labels that stand no more what they were merged into; None is nothing.
    """

    request_id: str
    model: str
    task: Task
    base: str
    parent: str | None
    parent_manifest: str | None
    new: tuple[Lesson, ...]
    replay: tuple[Lesson, ...]
    pairs: tuple[Pair, ...] = ()
    thumbs: tuple[Thumb, ...] = ()
    config: Training
    refresh: bool = False
    regrouped: tuple[tuple[str, str | None], ...] = ()

    @property
    def goes_on_from(self) -> str | None:
        """The version whose weights training starts from; None is the base."""
        return None if self.refresh else self.parent

    @property
    def version(self) -> str:
        """The id of the version that this snapshot makes: a hash of parent, lessons and config."""
        parts = self.model_dump_json(exclude={"request_id"})
        return f"v{hashlib.sha256(parts.encode()).hexdigest()[:20]}"

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all its examples."""
        return frozenset(lesson.id for lesson in (*self.new, *self.replay))

    @property
    def opinions(self) -> tuple[Pair | Thumb, ...]:
        """What users said of outputs beside naming the right one."""
        return (*self.pairs, *self.thumbs)

    @property
    def heard(self) -> tuple[str, ...]:
        """Ids of all feedback that the opinions are made of."""
        return tuple(dict.fromkeys(event for one in self.opinions for event in one.ids))

    def with_outputs(
        self, targets: Mapping[str, str | None], rejected: Mapping[str, str], judged: Mapping[str, tuple[str, str]]
    ) -> Snapshot:
        """The same choice with these outputs, empty where there is none.

        Args:
            targets: the right ones by example id.
            rejected: those that were corrected, by example id.
            judged: those that opinions are about, by the id of the event that names them.
        """

        def set_in(lessons: tuple[Lesson, ...]) -> tuple[Lesson, ...]:
            return tuple(
                one.model_copy(update={"target": targets.get(one.id) or "", "rejected": rejected.get(one.id)})
                for one in lessons
            )

        pairs, thumbs = (
            tuple(one.saying(judged.get(one.ids[0], NOTHING)) for one in some) for some in (self.pairs, self.thumbs)
        )
        lessons = {"new": set_in(self.new), "replay": set_in(self.replay)}
        return self.model_copy(update=lessons | {"pairs": pairs, "thumbs": thumbs})


class Choice(Frozen):
    """What a crash finds of a snapshot: all but the outputs, and the version that they led to."""

    version: str
    outline: Snapshot

    def filled(
        self, targets: Mapping[str, str | None], rejected: Mapping[str, str], judged: Mapping[str, tuple[str, str]]
    ) -> Snapshot | None:
        """The snapshot with its outputs as SQL has them now; None when they are not those that were chosen.

        They are not when feedback that an opinion is made of stands no more, whatever the others say.
        """
        if not judged.keys() >= set(self.outline.heard):
            return None
        snapshot = self.outline.with_outputs(targets, rejected, judged)
        return snapshot if snapshot.version == self.version else None


def replay_size(config: Training, new: int) -> int:
    """How many learned examples are passed over again beside so many new ones."""
    return max(config.min_replay, new)


def freeze(snapshot: Snapshot, folder: Path) -> None:
    """Write a snapshot so that a crash finds all of it or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    choice = Choice(version=snapshot.version, outline=snapshot.with_outputs({}, {}, {}))
    staged = folder / f".{snapshot.request_id}.tmp"
    with staged.open("w", encoding="utf-8") as file:
        file.write(choice.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    staged.rename(folder / f"{snapshot.request_id}.json")


def frozen(request_id: str, folder: Path) -> Choice | None:
    """What a request froze before a crash, if it did."""
    path = folder / f"{request_id}.json"
    return Choice.model_validate_json(path.read_bytes()) if path.exists() else None
