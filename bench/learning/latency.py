"""From a request to its candidate, on broker, recorder and trainer as their users run them.

The bench stands for the apps, whose users correct answers, and for the evaluator, which promotes every candidate. The
clock runs from the request on its topic, when all examples are in SQL, to the candidate on its own.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from bench.flow import Flow
from bench.learning.course import Size, shots
from bench.learning.line import BASE, MODEL
from bench.report import Figure, Tell, at_most
from bench.stage import answers, await_ready, broker, free_port, program
from schemas.events import (
    CandidateTrained,
    Correction,
    FeedbackReceived,
    LabelScore,
    ModelCard,
    ModelStateChanged,
    PredictionServed,
    TrainingRequested,
)
from shared.artifacts import ArtifactStore
from shared.datasets import Row, store_dataset
from shared.envelope import unseal
from shared.errors import FatalError
from shared.ids import new_id
from shared.kafka import Follower, Publisher
from shared.tables import Example, open_database
from shared.text import short_hash
from shared.topics import CANDIDATES

NEW = 100  # examples of one increment
FIRST = 1_500  # examples of the first version
PATIENCE_S = 300
LOOK_S = 0.02


def latency(data: Path, turns: int, tell: Tell) -> list[float]:
    """Seconds from each of so many requests to its candidate."""
    rows = shots(0, Size(), data).everything
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name, _loop(Path(name)) as loop:
        loop.promote(loop.ask(loop.card(rows[:FIRST])))
        seconds = []
        for turn in range(turns):
            begin = FIRST + turn * NEW
            loop.correct(rows[begin : begin + NEW])
            start = time.monotonic()
            candidate = loop.ask()
            seconds.append(time.monotonic() - start)
            tell(f"a candidate from {NEW} new examples after {seconds[-1]:.1f} s")
            loop.promote(candidate)
    return seconds


def figures(seconds: Sequence[float]) -> list[Figure]:
    """The table's lines; of few turns the worst stands for the 95th percentile."""
    spread = (min(seconds), max(seconds))
    enough = len(seconds) >= 20
    slow = quantiles(seconds, n=20)[-1] if enough else max(seconds)
    which = "p95" if enough else "worst"
    name = f"request → candidate, {NEW} new examples, {which} of {len(seconds)}"
    return [Figure(name, slow, "s", at_most(15), spread)]


@dataclass
class Loop:
    """The part of an installation that learns, and who stands around it."""

    flow: Flow
    publisher: Publisher
    candidates: Follower
    corrected: int = 0

    def card(self, rows: Sequence[Row]) -> ModelCard:
        """A new model from these rows."""
        dataset = store_dataset(ArtifactStore(f"file://{self.flow.folder}/artifacts"), rows)
        return ModelCard(task="classification", base=BASE, examples=dataset)

    def ask(self, card: ModelCard | None = None) -> CandidateTrained:
        """Ask for a version, and wait for it.

        Raises:
            FatalError: it does not come in time.
        """
        request = TrainingRequested(
            **_said(),
            request_id=new_id(),
            model=MODEL,
            trigger="added" if card else "person",
            requested_by="bench",
            card=card,
        )
        self.publisher.publish(request)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for record in self.candidates.poll(50):
                event = unseal(record.value, record.headers, CANDIDATES)
                if isinstance(event, CandidateTrained) and event.request_id == request.request_id:
                    return event
        raise FatalError(f"No candidate within {PATIENCE_S} s. The trainer's log is {self.flow.folder}/trainer.log.")

    def promote(self, version: CandidateTrained) -> None:
        """Make it the champion, and wait until SQL knows that its lessons are learned."""
        state = ModelStateChanged(
            **_said(),
            model=MODEL,
            alias="champion",
            task="classification",
            base=BASE,
            version=version.version,
            previous=version.parent,
            manifest_sha256=version.manifest_sha256,
            decision=new_id(),
            reason="the bench promotes every candidate",
        )
        self.publisher.publish(state)
        self._until(lambda: self._new() == 0)

    def correct(self, rows: Sequence[Row]) -> None:
        """A user for each row is answered wrongly and says what is right; wait until SQL has them as examples."""
        for row in rows:
            self.corrected += 1
            self.flow.fill(_correction(row, short_hash(f"user {self.corrected}")))
        self._until(lambda: self._new() == len(rows))

    def _new(self) -> int:
        """Examples that no champion has learned."""
        new = select(func.count()).select_from(Example)
        new = new.where(Example.model == MODEL, Example.status == "train", col(Example.learned_in).is_(None))
        engine = open_database(self.flow.database_url)
        try:
            with Session(engine) as session:
                return session.exec(new).one()
        finally:
            engine.dispose()

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                raise FatalError(f"After {PATIENCE_S} s the recorder has not come so far.")
            time.sleep(LOOK_S)


@contextlib.contextmanager
def _loop(folder: Path) -> Iterator[Loop]:
    with contextlib.ExitStack() as stack:
        bus, _ = stack.enter_context(broker(folder / "kafka", free_port(2)))
        flow = Flow(bus, f"sqlite:///{folder}/learnback.db", folder)
        (folder / "learnback.toml").write_text("[defaults.training]\nseed_epochs = 1\n", "utf-8")  # the first one waits
        stack.enter_context(flow.recorder())
        stack.enter_context(_trainer(flow))
        yield Loop(flow, stack.enter_context(bus.publisher()), stack.enter_context(bus.follower(CANDIDATES)))


@contextlib.contextmanager
def _trainer(flow: Flow) -> Iterator[None]:
    """Run `python -m services.trainer` with its defaults: on all cores."""
    port, log = free_port(), flow.folder / "trainer.log"
    variables = flow.variables | {
        "LEARNBACK_TRAINER_PORT": str(port),
        "LEARNBACK_TRAINER_WORK_DIR": f"{flow.folder}/trainer",
    }
    with program([sys.executable, "-m", "services.trainer"], log, variables) as process:
        await_ready(process, log, answers(port, "/readyz"))
        yield


def _said() -> dict[str, Any]:
    return {"event_id": new_id(), "occurred_at": datetime.now(UTC), "source": "bench"}


def _correction(row: Row, user: str) -> Iterator[PredictionServed | FeedbackReceived]:
    """An answer that is wrong, and its correction."""
    prediction = new_id()
    yield PredictionServed(
        **_said(),
        prediction_id=prediction,
        model=MODEL,
        version="v0",
        input=row.text,
        output="oos",
        scores=(LabelScore(label="oos", score=0.4),),
        solicit=False,
        solicit_rate=0.0,
        app="shop",
        user_key=user,
    )
    yield FeedbackReceived(
        **_said(),
        prediction_id=prediction,
        feedback=Correction(value=row.label),
        app="shop",
        user_key=user,
    )
