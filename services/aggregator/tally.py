"""All slices of all models: counts facts, publishes what changed, and finds what rose."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from schemas.events import ErrorSliceUpdated, Event
from services.aggregator.facts import Judged
from services.aggregator.shelf import Shelf
from services.aggregator.slices import ALPHA, Rise, Slice, bucket_of, changes, count, rise
from services.aggregator.topics import APP
from services.aggregator.triggers import Loop
from shared.ids import new_id
from shared.policy import PolicyFile

MAX_SLICES = 2_000  # per model, about 2 kB each; those that were hit least lately go
SURE = "confusion="  # every prediction of a confusion is wrong, so its rate cannot rise


class Tally:
    """Counts per model, slice and bucket. Keys are `model|slice`."""

    def __init__(self, slices: Shelf[Slice], policies: PolicyFile, emit: Callable[[Event], None]) -> None:
        """Make one that emits ErrorSliceUpdated by `emit`."""
        self._slices = slices
        self._policies = policies
        self._emit = emit
        self._names: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._changed: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))

    def count(self, loop: Loop, fact: Judged) -> None:
        """Count a fact in each slice that it touches, once.

        One that is read again was counted, but maybe by a worker that ended before it could tell: told it is again.
        """
        bucket = bucket_of(fact.at, self._policies.of(fact.model).trigger.bucket_seconds)
        for name, change in changes(fact, loop.labels).items():
            key = f"{fact.model}|{name}"
            counted = self._slices.get(key) or Slice(partition=loop.partition)
            self._changed[fact.model][name].add(bucket)
            if not counted.has_seen(fact):
                self._slices.put(key, count(counted, fact, bucket, change))
                self._remember(loop, name)

    def publish(self, now: float) -> dict[str, list[str]]:
        """Emit each bucket that changed since the last time; returns the changed slices of each model."""
        changed, self._changed = self._changed, defaultdict(lambda: defaultdict(set))
        for model, slices in changed.items():
            for name, buckets in slices.items():
                for event in self._updates(model, name, buckets, now):
                    self._emit(event)
        return {model: list(slices) for model, slices in changed.items()}

    def rises(self, loop: Loop, names: list[str]) -> list[Rise]:
        """Those of the slices that fail more than they did before, in this reign."""
        tested = sum(not name.startswith(SURE) for name in self._names[loop.model])
        alpha = ALPHA / max(1, tested)  # Bonferroni: the more slices, the more chances to look bad
        min_judged = self._policies.of(loop.model).trigger.slice_min_judged
        found = []
        for name in names:
            counted = None if name.startswith(SURE) else self._slices.get(f"{loop.model}|{name}")
            if counted and (risen := rise(name, counted, loop.reign_since, min_judged, alpha)):
                found.append(risen)
        return found

    def recover(self) -> None:
        """Know again which slices each model has, after partitions were assigned."""
        self._changed.clear()
        self._names.clear()
        for key, _ in sorted(self._slices.items(), key=lambda item: max(item[1].buckets, default=0)):
            model, _, name = key.partition("|")
            self._names[model][name] = None

    def _remember(self, loop: Loop, name: str) -> None:
        names = self._names[loop.model]
        names[name] = None
        names.move_to_end(name)
        if len(names) > MAX_SLICES:
            old, _ = names.popitem(last=False)
            self._slices.remove(f"{loop.model}|{old}", loop.partition)

    def _updates(self, model: str, name: str, buckets: set[int], now: float) -> Iterator[ErrorSliceUpdated]:
        counted = self._slices.get(f"{model}|{name}")
        kept = counted.buckets if counted else {}
        for bucket in sorted(buckets & kept.keys()):
            yield ErrorSliceUpdated(
                event_id=new_id(),
                occurred_at=datetime.fromtimestamp(now, UTC),
                source=APP,
                model=model,
                slice=name,
                bucket=datetime.fromtimestamp(bucket, UTC),
                bucket_seconds=self._policies.of(model).trigger.bucket_seconds,
                judged=kept[bucket].judged,
                wrong=kept[bucket].wrong,
            )
