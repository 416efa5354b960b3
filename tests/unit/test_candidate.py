"""What is told of a version: every example and every feedback that it learned first."""

from __future__ import annotations

from pathlib import Path

from services.trainer import candidate
from services.trainer.costs import Costs
from services.trainer.origins import Origins
from services.trainer.reports import Outcome
from shared.artifacts import ArtifactStore
from tests.unit.recorder_story import at
from tests.unit.test_snapshot import LESSON, PAIR, SNAPSHOT, THUMB, ask

OUTCOME = Outcome(
    (), 1, 0, (0.5,), 1.0, None, None, (), {"train_s": 1.0}, Costs(1.0, 0.0, 1.0, 0.0, 1.0), "cpu", "0" * 64, {}
)


def test_a_version_lists_what_it_learned_by_example_and_by_feedback(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "adapter").write_text("weights")
    store = ArtifactStore(f"file://{tmp_path / 'store'}")
    replayed = LESSON.model_copy(update={"id": "5" * 32})
    heard = SNAPSHOT.model_copy(update={"replay": (replayed,), "pairs": (PAIR,), "thumbs": (THUMB,)})
    assert candidate.announced(store, heard, ask(), at(0)) is None
    candidate.store(store, heard, Origins.of(heard.heard), OUTCOME, tmp_path / "files")
    event = candidate.announced(store, heard, ask(), at(0))
    assert event is not None
    assert event.lessons == (LESSON.id, "f-1", "f-2", "f-3")
    assert event.replayed == 1
    again = candidate.announced(store, heard, ask(), at(9))
    assert again is not None
    assert again.event_id == event.event_id, "announced after a crash it is the same event"
