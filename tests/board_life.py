"""A model's first 25 minutes as rows of the recorder's database: what the board shows after a demo."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from shared.tables import Consumed, DeadLetter, FeedbackRow, LedgerRow, Progress, Request
from shared.text import example_id
from tests.board_rows import MODEL, START, Rows

MARKUP = "<b>refund</b> **now** :red[please] $x$"  # a text that must be shown as it is


def check(name: str, passed: bool, value: float | None, threshold: float | None, n: int, reason: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "value": value, "threshold": threshold, "n": n, "reason": reason}


SAFE = [
    check(
        "anchor", True, -0.005, -0.02, 180, "Not worse than the champion on the golden anchor by more than 2 points."
    ),
    check("finite_weights", True, None, None, 0, "Every weight is finite."),
]
CHECKS = [check("superiority", True, 0.0004, 0.0025, 212, "Exact McNemar: right where the other fails, 31 : 8."), *SAFE]
FAILED = [check("superiority", False, 0.21, 0.0025, 212, "Exact McNemar: 14 : 9, chance gives that often."), *SAFE]
LABELS = ["refund status", "delivery", "cancel order", "change address", "invoice", "reset password", "card declined"]
TEXTS = [
    "where's my parcel??",
    "refund still not on my account",
    "pls cancel order 4417",
    "moved house, how do i change the adress",
    "need the invoice for march",
    "cant log in, forgot pw",
    "card got declined twice but money is gone",
    MARKUP,
]
LIFE_S = 1500  # 25 minutes, as the demo takes


def life(engine: Engine, predictions: int = 8000, ends: datetime = START + timedelta(seconds=LIFE_S)) -> None:
    """Write a model's first 25 minutes: seven versions, four promotions, a rejection, a running increment, a queue."""
    rows, chance = Rows(engine, start=ends - timedelta(seconds=LIFE_S)), random.Random(0)
    rows.add_model(LABELS[:5])
    reigns = _versions(rows)
    for number in range(predictions):
        _use(rows, chance, reigns, 10 + number * (LIFE_S - 20) / predictions, number)
    _queue(rows)
    _slices(rows, chance)
    _anchor(rows)
    rows.rows.append(
        Request(
            request_id="request-7", event_id="r7", model=MODEL, trigger="slice",
            detail="", requested_by="aggregator", occurred_at=rows.at(LIFE_S - 9),
        )
    )  # fmt: skip
    rows.rows.append(
        Progress(
            request_id="request-7", model=MODEL, state="running", step=18, steps=60, loss=0.412, examples_per_s=331.0,
            seconds_left=6.2, detail="", occurred_at=rows.at(LIFE_S - 2),
        )
    )  # fmt: skip
    rows.write()


def _versions(rows: Rows) -> list[tuple[str, float]]:
    plan = [(0, None, "promote", 5), (1, 0, "promote", 240), (2, 1, "reject", 430), (3, 1, "promote", 610),
            (4, 3, "inconclusive", 820), (5, 3, "promote", 1010), (6, 5, "promote", 1290)]  # fmt: skip
    reigns: list[tuple[str, float]] = []
    for number, parent, outcome, seconds in plan:
        version = rows.version(
            number, seconds - 4, parent, labels=LABELS[: 5 + number // 3], replayed=256 * min(number, 1),
            loss_curve=[3.2 / (step + 1) ** 0.6 for step in range(12 + number)], dev_score=0.7 + number / 30,
        )  # fmt: skip
        champion = reigns[-1][0] if reigns else None
        checks = CHECKS if outcome == "promote" else FAILED
        rows.verdict(
            version, champion, outcome, seconds - 1, checks=checks if champion else [],
            reason={
                "promote": "Better on solicited answers (p = 0.0004 ≤ 0.0025) and not worse on the anchor.",
                "reject": "Worse on the golden anchor by 6.1 points; at most 2 are allowed.",
                "inconclusive": "Not shown to be better yet: p = 0.21 > 0.0025.",
            }[outcome] if champion else "A person added the model.",
            labels_to_decide=140 if outcome == "inconclusive" else None,
            champion_accuracy=0.4 + 0.07 * number if champion else None,
            candidate_accuracy=0.47 + 0.07 * number if champion else None,
        )  # fmt: skip
        if outcome == "promote":
            rows.champion(version, seconds, champion)
            reigns.append((version, seconds))
    return reigns


def _use(rows: Rows, chance: random.Random, reigns: list[tuple[str, float]], seconds: float, number: int) -> None:
    """One prediction, what was said of it, and the example that this makes."""
    served = [version for version, since in reigns if since <= seconds]
    kind = chance.randrange(len(LABELS))
    right = chance.random() < 0.42 + 0.11 * (len(served) - 1)
    output = LABELS[kind] if right else LABELS[(kind + chance.randint(1, 3)) % len(LABELS)]
    solicited, app = chance.random() < 0.1, chance.choice(["shop", "shop", "mobile"])
    example_id, text = f"e{number}", f"{TEXTS[kind]} {number}" if number % 37 else f"{MARKUP} {number}"
    prediction_id = rows.prediction(
        served[-1], seconds, text, output=output, solicit=solicited, app=app, example_id=example_id,
        score=round(0.3 + 0.7 * chance.random(), 3),
    )  # fmt: skip
    if not solicited and chance.random() > (0.05 if right else 0.6):
        return
    corrected = solicited or (not right and chance.random() < 0.5)
    target = LABELS[kind] if corrected or right else None
    rows.say(
        prediction_id, seconds + 2, "correction" if corrected else "thumbs", value=target or "down", wrong=not right,
        solicited=solicited, app=app, target=target, example_id=example_id, version=served[-1],
    )  # fmt: skip
    if number % 97 == 0:
        rows.say(prediction_id, seconds + 9, "correction", wrong=True, target="delivery", example_id=example_id)
    coming = [one for one in reigns if one[1] > seconds + 8]
    learned = coming[0] if coming and target and not solicited else None
    fixed = learned if learned and not right and chance.random() < 0.85 else None
    side = "holdout" if solicited else "train"
    if learned:
        rows.lesson(learned[0], example_id)
    rows.example(
        example_id, side if target else "pending", text=text, target=target, side=side, first_at=rows.at(seconds),
        reason="" if target else "no_target", learned_in=learned[0] if learned else None,
        fixed_in=fixed[0] if fixed else None, fixed_at=rows.at(fixed[1]) if fixed else None,
    )  # fmt: skip


def _queue(rows: Rows) -> None:
    for number, (status, reason, target) in enumerate(
        [
            ("quarantined", "confident_champion", "invoice"),
            ("quarantined", "conflict", None),
            ("quarantined", "confident_champion", "refund status"),
            ("pending", "new_label", "gift card"),
            ("pending", "new_label", "gift card"),
        ]
    ):
        example_id, text = f"q{number}", f"{TEXTS[-1 - number]} (case {number})"
        rows.example(example_id, status, text=text, reason=reason, target=target, votes=2 - number % 2)
        asked = rows.prediction(
            f"{MODEL}-06", 1400 + number, text, output="delivery", score=0.991, example_id=example_id
        )
        rows.say(asked, 1405 + number, "correction", target=target or "invoice", wrong=True, example_id=example_id)
        rows.say(asked, 1406 + number, "correction", target="delivery", wrong=False, example_id=example_id)


def _anchor(rows: Rows) -> None:
    for number, label in enumerate(LABELS[:5] * 3):
        text = f"{TEXTS[number % 5]} (golden {number})"
        rows.example(example_id(MODEL, text), "holdout", text=text, origin="anchor", side="anchor", target=label)
        if number == 7:
            rows.edit(1300, "relabel", text, label, note="The policy on invoices changed.")
    rows.edit(1400, "add", MARKUP, "refund status", note="A customer called.")


def _slices(rows: Rows, chance: random.Random) -> None:
    for minute in range(LIFE_S // 60):
        for number, label in enumerate(LABELS):
            judged = chance.randint(4, 12)
            rate = max(0.05, 0.7 - minute / 40 - number / 20)
            rows.slice(f"label={label}", minute * 60, judged, round(judged * rate))
            other = LABELS[(number + 1) % len(LABELS)]
            rows.slice(f"confusion={label}→{other}", minute * 60, round(judged * rate / 3), round(judged * rate / 3))
        for app in ("shop", "mobile"):
            rows.slice(f"app={app}", minute * 60, 40, round(40 * max(0.1, 0.6 - minute / 50)))


def ledger(engine: Engine, ends: datetime, minutes: int = 25, lost: int = 0) -> None:
    """Write what collectors accepted in the last minutes: repeats, dead letters, orphans, and events that are lost."""
    rows = Rows(engine, start=ends.replace(second=0, microsecond=0) - timedelta(minutes=minutes))
    for number in range(minutes):
        accepted, missing = 300 + 17 * (number % 5), lost if number == 3 else 0
        rows.rows.append(
            LedgerRow(
                instance=f"i{number % 2}", bucket=rows.at(60 * number), accepted=accepted, arrived=accepted - missing,
                stored=accepted - missing - 13, repeats=9, conflicts=1, dead=3, told_at=rows.at(60 * number + 59),
                missing=missing,
            )
        )  # fmt: skip
    rows.rows += [
        DeadLetter(
            id=f"learnback.feedback.v1/{number}/7/recorder", topic="learnback.feedback.v1", partition=number, offset=7,
            service="recorder", reason=reason, detail="", occurred_at=rows.at(60 * number),
        )
        for number, reason in enumerate(["schema_error", "schema_error", "id_conflict"])
    ]  # fmt: skip
    for number, age in enumerate((60, 7200, 200_000)):
        rows.rows.append(
            FeedbackRow(
                event_id=f"orphan-{number}", prediction_id=f"none-{number}", kind="thumbs", value="up", app="shop",
                user_key=None, occurred_at=ends - timedelta(seconds=age),
            )
        )  # fmt: skip
    rows.rows.append(Consumed(topic="learnback.feedback.v1", partition=0, next_offset=4100))
    rows.rows.append(Consumed(topic="learnback.feedback.v1", partition=1, next_offset=3900))
    rows.write()
