"""`learnback backtest`: what another policy would have made of the record."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from cli.progress import LiveBar
from cli.recollect import asked, recollect, takes
from cli.records import away, must_be_there
from services.aggregator.retrace import requests
from shared.errors import BadInputError, LearnbackError
from shared.policy import PolicyFile, read_policy
from shared.settings import Platform, load
from shared.tables import ModelRow, open_database

FILE = click.Path(path_type=Path)
REJUDGE = "services.evaluator.rejudge"  # a process of its own: it loads versions, and this command does without torch


class BacktestError(LearnbackError):
    """The record could not be judged again; says why."""


@click.command()
@click.option("--policy", type=FILE, required=True, help="The other policy, a file like learnback.toml.")
@click.option("--database", help="SQLAlchemy URL; the live database when not given.")
@click.option("--model", "models", multiple=True, help="Only this model; may be given again.")
@click.option("--json", "file", type=FILE, help="Also write all that was found there.")
def backtest(policy: Path, database: str | None, models: tuple[str, ...], file: Path | None) -> None:
    """Judge what is on record again under another policy: what would have been promoted, when, and how well it did.

    Reads the database and the artifact store, and changes neither.
    """
    if not policy.is_file():
        raise BadInputError("no_policy", f"There is no policy file {policy}.")
    policies, platform = read_policy(policy), load(Platform)
    url = database or platform.database
    engine = open_database(url)
    must_be_there(engine)
    try:
        names = _known(engine, models)
        found = _judged(policy, url, platform.artifacts_url, names)
        for one in found:
            one["requests"] = _requests(engine, one["model"], policies)
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()
    click.echo("\n\n".join(tables(one) for one in found))
    if file:
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _known(engine: Engine, models: Sequence[str]) -> tuple[str, ...]:
    with Session(engine) as session:
        known = tuple(session.exec(select(ModelRow.name).order_by(ModelRow.name)))
    if unknown := [name for name in models if name not in known]:
        raise BadInputError("no_model", f"The database has no model {', '.join(unknown)}; it has {', '.join(known)}.")
    if not known:
        raise BadInputError("no_model", "The database has no model yet.")
    return tuple(models) or known


def _judged(policy: Path, database: str, artifacts: str, models: Sequence[str]) -> list[dict[str, Any]]:
    """What the evaluator finds, model by model."""
    command = [sys.executable, "-m", REJUDGE, str(policy), database, artifacts, *models]
    found = []
    with (
        LiveBar("backtest", Console(stderr=True), "loading the evaluator") as bar,
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            said = json.loads(line)
            if "done" in said:
                bar.show(said["done"], said["of"], f"{said['what']} ({said['done']} of {said['of']})")
            else:
                found.append(said)
        if process.wait():
            errors.seek(0)
            said = errors.read().strip() or f"ended with {process.returncode}"
            raise BacktestError(f"The record could not be judged again: {said.splitlines()[-1]}")
    return found


def _requests(engine: Engine, model: str, policies: PolicyFile) -> dict[str, Any]:
    seconds = takes(engine, model)
    made = requests(model, recollect(engine, model), policies, seconds)
    return {
        "takes_s": seconds,
        "recorded": [_request(one.occurred_at, one.trigger, one.detail) for one in asked(engine, model)],
        "replayed": [_request(one.occurred_at, one.trigger, one.detail) for one in made],
    }


def _request(at: datetime, trigger: str, detail: str) -> dict[str, str]:
    return {"at": at.isoformat(), "trigger": trigger, "detail": detail}


def tables(found: dict[str, Any]) -> str:
    """What was found of a model, as Markdown that can be pasted anywhere."""
    asked_for = found["requests"]
    parts = [
        f"## {found['model']}",
        _grid(
            ("candidate", "judged", "on record", "here", "decided", "answers", "against", "champion", "candidate"),
            [_candidate(one) for one in found["candidates"]],
        ),
        *_remarks(found["candidates"]),
        _grid(
            ("served", "champions", "solicited answers", "right"),
            [_served("on record", found["recorded"]), _served("here", found["replayed"])],
        ),
        _grid(
            ("asked for training", "requests", "by trigger", "first", "last"),
            [_asked("on record", asked_for["recorded"]), _asked("here", asked_for["replayed"])],
        ),
    ]
    return "\n\n".join(parts)


def _candidate(one: dict[str, Any]) -> tuple[str, ...]:
    mark = "*" if one["stands_in"] else ""
    return (
        one["version"] + mark,
        _clock(one["at"]),
        one["recorded"] or "–",
        one["outcome"],
        _clock(one["decided_at"]) + (f" (look {one['looks']})" if one["looks"] > 1 else ""),
        str(one["evidence"]),
        one["champion"] or "–",
        _percent(one["champion_accuracy"]),
        _percent(one["candidate_accuracy"]),
    )


def _remarks(candidates: Sequence[dict[str, Any]]) -> list[str]:
    remarks = []
    if any(one["stands_in"] for one in candidates):
        remarks.append(
            "\\* made from another champion than serves here: what the trainer would have made is not known, and this"
            " one stands in for it."
        )
    lost = [f"{one['version']}: {one['reason']}" for one in candidates if one["outcome"] == "unreadable"]
    return [*remarks, *lost]


def _served(who: str, reigns: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """All answers under a policy, each by who served then."""
    read = [reign for reign in reigns if reign["accuracy"] is not None]
    answers = sum(reign["answers"] for reign in read)
    right = sum(reign["answers"] * reign["accuracy"] for reign in read)
    names = ", ".join(reign["version"] + (" (by hand)" if reign["by_hand"] else "") for reign in reigns)
    return who, names or "–", f"{answers:,}", _percent(right / answers if answers else None)


def _asked(who: str, made: Sequence[dict[str, str]]) -> tuple[str, ...]:
    kinds = sorted({one["trigger"] for one in made})
    by_kind = ", ".join(f"{kind} {sum(one['trigger'] == kind for one in made)}" for kind in kinds)
    ends = (_clock(made[0]["at"]), _clock(made[-1]["at"])) if made else ("–", "–")
    return who, str(len(made)), by_kind or "–", *ends


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
