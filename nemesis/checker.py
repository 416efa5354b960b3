"""From a history and what was found everywhere to a verdict: Jepsen's total queue and what Learnback promises beyond.

Definitions (jepsen.checker/total-queue, and kafka.clj for aborted reads), over units of id and content:

lost                answered with 2xx and in no place
unexpected          in a place and never sent
duplicated          in two places, or twice in one
rejected_but_stored refused each time it was sent (4xx, 503) and in a place all the same
altered             under an id that was sent, but with other content; or the second content of an id was stored
receipts            a repeat of an accepted unit was told another receipt
unexplained         in the dead letters for a reason that nothing sent could have
swallowed           a bad body that was answered with 2xx
undrained           still in the spool: the history holds no complete drain, so nothing is proven
unresolved          nobody knows what became of it: the client never got an answer on any try

All must be empty. `recovered` units (no answer, but there) are allowed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from nemesis.history import Attempt, Kind

Place = Literal["stored", "dead", "quarantined", "pending"]

# Why a unit of a kind may be in the dead letters; whatever else the system says there is a lie or a bug.
EXPLAINED: dict[Kind, frozenset[str]] = {
    "conflict": frozenset({"id_conflict"}),
    "raw": frozenset({"decode_error", "schema_error", "unknown_type", "null_value"}),
}


@dataclass(frozen=True)
class Found:
    """One unit in one place; `reason` is what the dead letter says."""

    id: str
    content: str
    place: Place
    reason: str = ""


@dataclass
class Verdict:
    """What was proven: the counts of the identity, and every breach by its name, as ids."""

    accepted: int = 0
    stored: int = 0
    dead: int = 0
    quarantined: int = 0
    pending: int = 0
    recovered: int = 0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    rejected_but_stored: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    swallowed: list[str] = field(default_factory=list)
    undrained: list[str] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)

    @property
    def imbalance(self) -> int:
        """Accepted and recovered units less all rows everywhere: counted apart from the sets, and 0 as well."""
        rows = self.stored + self.dead + self.quarantined + self.pending
        return self.accepted + self.recovered - rows

    @property
    def breaches(self) -> dict[str, list[str]]:
        """What must be empty and is not."""
        lists = {one.name: getattr(self, one.name) for one in fields(self)}
        broken = {name: value for name, value in lists.items() if isinstance(value, list) and value}
        return broken | ({"imbalance": [str(self.imbalance)]} if self.imbalance else {})


Key = tuple[str, str]


def check(attempts: Sequence[Attempt], found: Iterable[Found]) -> Verdict:
    """Compare what clients were told with what is there after a complete drain."""
    found = list(found)
    tries: dict[Key, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tries[attempt.unit.id, attempt.unit.content].append(attempt)
    accepted = {key for key, some in tries.items() if any(one.status == "ok" for one in some)}
    there = Counter((one.id, one.content) for one in found)
    verdict = Verdict(accepted=len(accepted), recovered=len(_recovered(tries, accepted, there)))
    _count(verdict, found)
    known = {id_ for id_, _ in tries}
    verdict.lost = _ids(accepted - there.keys())
    verdict.unexpected = _ids(key for key in there if key[0] not in known)
    verdict.duplicated = _ids(key for key, count in there.items() if count > 1) + _stored_twice(found)
    verdict.rejected_but_stored = _ids(key for key in there if _refused(tries.get(key, [])))
    verdict.altered = _ids(key for key in there if key not in tries and key[0] in known) + _usurped(tries, found)
    verdict.receipts = _ids(key for key, some in tries.items() if _differ(some))
    verdict.unexplained = sorted({one.id for one in found if one.place == "dead" and not _explained(one, tries)})
    verdict.swallowed = _ids(key for key in accepted if tries[key][0].unit.kind == "bad")
    verdict.undrained = sorted(one.id for one in found if one.place == "pending")
    verdict.unresolved = _ids(key for key, some in tries.items() if _unknown(some) and key not in there)
    return verdict


def _count(verdict: Verdict, found: Sequence[Found]) -> None:
    counts = Counter(one.place for one in found)
    verdict.stored, verdict.dead = counts["stored"], counts["dead"]
    verdict.quarantined, verdict.pending = counts["quarantined"], counts["pending"]


def _recovered(tries: dict[Key, list[Attempt]], accepted: set[Key], there: Counter[Key]) -> set[Key]:
    return {key for key, some in tries.items() if key in there and key not in accepted and not _refused(some)}


def _refused(tries: Sequence[Attempt]) -> bool:
    return bool(tries) and all(one.status == "fail" for one in tries)


def _unknown(tries: Sequence[Attempt]) -> bool:
    """Whether no try was answered though the client meant to try until one is."""
    return tries[0].unit.kind == "said" and all(one.status == "info" for one in tries)


def _differ(tries: Sequence[Attempt]) -> bool:
    return len({one.receipt for one in tries if one.status == "ok"}) > 1


def _stored_twice(found: Sequence[Found]) -> list[str]:
    """Ids with two contents among the stored: the same id is the same event, for ever."""
    contents: dict[str, set[str]] = defaultdict(set)
    for one in found:
        if one.place == "stored":
            contents[one.id].add(one.content)
    return sorted(id_ for id_, some in contents.items() if len(some) > 1)


def _usurped(tries: dict[Key, list[Attempt]], found: Sequence[Found]) -> list[str]:
    """Ids under which a content is stored that was sent only after another one had been accepted."""
    accepted_at: dict[str, dict[str, float]] = defaultdict(dict)
    for (id_, content), some in tries.items():
        ends = [one.t1 for one in some if one.status == "ok" and one.t1 is not None]
        if ends:
            accepted_at[id_][content] = min(ends)
    usurped = set()
    for one in found:
        if one.place == "stored" and (one.id, one.content) in tries:
            began = min(attempt.t0 for attempt in tries[one.id, one.content])
            earlier = (at for content, at in accepted_at[one.id].items() if content != one.content)
            if any(at < began for at in earlier):
                usurped.add(one.id)
    return sorted(usurped)


def _explained(one: Found, tries: dict[Key, list[Attempt]]) -> bool:
    sent = tries.get((one.id, one.content))
    return not sent or one.reason in EXPLAINED.get(sent[0].unit.kind, frozenset())


def _ids(keys: Iterable[Key]) -> list[str]:
    return sorted({id_ for id_, _ in keys})
