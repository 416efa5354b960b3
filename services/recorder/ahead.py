"""The next batch is read and opened in a thread while SQL takes the present one, which mostly waits for the server.

At most one batch ahead, and never past its turn: the group gives and takes partitions between two batches only (see
`Feed.recording`), and what was read ahead is dropped when a batch fails, since everything is read again from where SQL
stands. Batches of partitions whose first batch is not recorded yet are read, but not opened: a record that ends the
process while it is opened would otherwise keep the batch before it from ever being recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.recorder.batch import Batch
from services.recorder.feed import Feed
from services.recorder.intake import Intake
from services.recorder.records import Part, Polled


@dataclass(frozen=True)
class Read:
    """What a poll brought, and the batch that it makes, when it was opened already."""

    polled: Polled = field(default_factory=dict)
    batch: Batch | None = None


@dataclass
class Ahead:
    """Reads batches of at most `size` records, each gathered for at most `gather_s`."""

    feed: Feed
    intake: Intake
    size: int
    gather_s: float
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "read-ahead"))
    coming: Future[Read] | None = None

    def next(self) -> Read:
        """The next batch: what was read ahead, else what comes now.

        Raises:
            FatalError, UnavailableError, OperationalError, InterfaceError: as `Feed.poll`.
        """
        coming, self.coming = self.coming, None
        return coming.result() if coming else Read(self.feed.poll(self.size, self.gather_s))

    @contextmanager
    def reading(self, proven: Set[Part]) -> Iterator[None]:
        """Read the next batch while the block records this one; it is opened if all its partitions are `proven`."""
        self.feed.recording.acquire()
        self.coming = self.reader.submit(self._read, frozenset(proven))
        try:
            yield
        finally:
            self.feed.recording.release()  # the reader may wait for it, and then nobody must wait for the reader
            wait([self.coming])

    def rewind(self) -> None:
        """Read again from where SQL stands; what went wrong while reading ahead is still told, as it is told once."""
        if self.coming is not None and self.coming.exception() is None:
            self.coming = None
        self.feed.rewind()

    def _read(self, proven: Set[Part]) -> Read:
        polled = self.feed.poll(self.size, self.gather_s)
        return Read(polled, self._open(polled) if proven >= polled.keys() else None)

    def _open(self, polled: Polled) -> Batch | None:
        try:
            return self.intake.take(polled)
        except Exception:
            return None  # it is opened again when its turn comes, and what is wrong is dealt with there
