"""Where a model fails: counts of judged and wrong predictions per slice and time bucket. Pure.

A slice is `label=…` (the right label, else the served one), `confusion=predicted→right`, `app=…` or `tag=name:value`,
for the tags that the policy names. A prediction counts once in each; when later feedback changes what is known of it,
it moves. A label that no version answers with has no name here: it may be one user's own words, and what is counted
outlives an erasure. So a model that writes text has slices by app and tag alone: its outputs are too many to count, and
hold what users said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import Field

from schemas.events import NEW_LABEL
from services.aggregator.facts import Judged, Judgement, Kept

MAX_BUCKETS = 64  # non-empty buckets kept per slice, about 2 kB; older ones are summed up as «before»
ALPHA = 0.001  # false alarms per model and look; an increment that was not needed costs minutes, not quality


@dataclass(frozen=True)
class Counts:
    """Judged predictions, and those of them that were wrong."""

    judged: int = 0
    wrong: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(self.judged + other.judged, self.wrong + other.wrong)

    def __neg__(self) -> Counts:
        """Taken away."""
        return Counts(-self.judged, -self.wrong)

    @property
    def clipped(self) -> Counts:
        """Never below nothing: what is taken away may have been counted in a slice that was let go."""
        judged = max(0, self.judged)
        return Counts(judged, min(judged, max(0, self.wrong)))

    @property
    def rate(self) -> float:
        """Share of wrong ones."""
        return self.wrong / self.judged if self.judged else 0.0


class Slice(Kept):
    """One slice of one model: `buckets` by their start in epoch seconds, and what is older than all of them."""

    buckets: dict[int, Counts] = Field(default_factory=dict)
    older: Counts = Counts()


@dataclass(frozen=True)
class Rise:
    """A slice that fails more than before."""

    slice: str
    before: Counts
    recent: Counts
    p_value: float


def bucket_of(at: float, seconds: int) -> int:
    """The start of the bucket that holds a time."""
    return int(at // seconds) * seconds


def changes(fact: Judged, labels: Collection[str]) -> dict[str, Counts]:
    """What a fact adds to or takes from each slice; without labels of versions (free text) only app and tags count."""
    moved: dict[str, Counts] = {}
    for name in _names(fact, fact.now, labels):
        moved[name] = Counts(1, int(fact.now.wrong))
    if fact.was is not None:
        for name in _names(fact, fact.was, labels):
            moved[name] = moved.get(name, Counts()) + -Counts(1, int(fact.was.wrong))
    return {name: counts for name, counts in moved.items() if counts != Counts()}


def _names(fact: Judged, known: Judgement, labels: Collection[str]) -> list[str]:
    names = [f"app={fact.app}", *(f"tag={name}:{value}" for name, value in fact.tags.items())]
    if labels:
        served, right = (said if said in labels else NEW_LABEL for said in (fact.served, known.right or fact.served))
        names.append(f"label={right}")
        if known.wrong and known.right is not None:
            names.append(f"confusion={served}→{right}")
    return names


def count(counted: Slice, fact: Judged, bucket: int, change: Counts) -> Slice:
    """The slice after a fact. A fact seen before changes nothing; one older than all kept buckets only `older`."""
    if counted.has_seen(fact):
        return counted
    buckets, older = dict(counted.buckets), counted.older
    if bucket not in buckets and len(buckets) >= MAX_BUCKETS and bucket < min(buckets):
        older = (older + change).clipped
    else:
        buckets[bucket] = (buckets.get(bucket, Counts()) + change).clipped
    while len(buckets) > MAX_BUCKETS:
        older += buckets.pop(min(buckets))
    return counted.model_copy(update={"buckets": buckets, "older": older, "marks": counted.marks_with(fact)})


def rise(name: str, counted: Slice, since: float, min_judged: int, alpha: float) -> Rise | None:
    """Whether the slice fails more now than it did before, by Fisher's exact test, one-sided.

    «Now» are the newest buckets of the champion's reign (from `since`) with at least `min_judged` judged predictions
    together; «before» is everything older, under whatever champion.
    """
    recent, before = Counts(), counted.older
    for start in sorted(counted.buckets, reverse=True):
        if start >= since and recent.judged < min_judged:
            recent += counted.buckets[start]
        else:
            before += counted.buckets[start]
    if recent.judged < min_judged or recent.rate <= before.rate or not before.judged:
        return None
    from scipy.stats import fisher_exact  # when first needed: a third of what the aggregator's start would take

    table = [[recent.wrong, recent.judged - recent.wrong], [before.wrong, before.judged - before.wrong]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    return Rise(name, before, recent, p_value) if p_value < alpha else None
