"""`learnback export`: a version's weights in a shape that other programs load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from cli.records import away, must_be_there
from shared.errors import BadInputError, LearnbackError
from shared.settings import Platform, load
from shared.tables import ModelRow, StateChange, Version, open_database

WRITE = "services.predictor.export"  # a process of its own: it loads the base, and this command does without torch
FORMATS = ("peft", "merged", "onnx")


class ExportError(LearnbackError):
    """The version could not be written; says why."""


@click.command()
@click.argument("model")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="A folder that is not there yet.")
@click.option("--format", "shape", type=click.Choice(FORMATS), default="peft", show_default=True)
@click.option("--version", "name", help="Its id, or v and its number; the champion when not given.")
@click.option("--database", help="SQLAlchemy URL; the live database when not given.")
def export(model: str, folder: Path, shape: str, name: str | None, database: str | None) -> None:
    """Write a version of MODEL into a folder.

    peft: the adapter as peft loads it. merged: the base with the adapter in it. onnx: a classifier as one graph.
    """
    if folder.exists():
        raise BadInputError("folder_exists", f"{folder} is there already; choose another folder.")
    platform = load(Platform)
    engine = open_database(database or platform.database)
    must_be_there(engine)
    try:
        known, version = _found(engine, model, name)
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()
    if shape == "onnx" and known.task != "classification":
        raise BadInputError("no_graph", f"{model} writes text, and only classifiers become graphs: export it merged.")
    order = {
        "shape": shape,
        "task": known.task,
        "base": known.base,
        "version": version.version,
        "manifest_sha256": version.manifest_sha256,
        "artifacts": platform.artifacts_url,
        "folder": str(folder),
    }
    done = subprocess.run([sys.executable, "-m", WRITE, json.dumps(order)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
        if said.startswith("ModuleNotFoundError"):
            said += "; this command needs what the predictor is installed with, and for onnx the extra onnx."
        raise ExportError(f"{version.version} could not be written: {said}")
    click.echo(f"{model} v{version.number} ({version.version}) is in {folder}; its README.md says how to load it.")


def _found(engine: Engine, model: str, name: str | None) -> tuple[ModelRow, Version]:
    """The model and one of its versions, by id or number; the champion without a name.

    Raises:
        BadInputError: there is no such model or version.
    """
    with Session(engine) as session:
        known = session.get(ModelRow, model)
        if known is None:
            names = ", ".join(session.exec(select(ModelRow.name).order_by(ModelRow.name))) or "none"
            raise BadInputError("no_model", f"The database has no model {model}; it has {names}.")
        version = session.exec(_champion(model) if name is None else _named(model, name)).first()
        if version is None:
            what = f"no version {name}" if name else "no champion yet"
            raise BadInputError("no_version", f"{model} has {what}.")
        session.expunge_all()
        return known, version


def _champion(model: str) -> SelectOfScalar[Version]:
    changes = select(StateChange.version).where(StateChange.model == model, StateChange.alias == "champion")
    newest = changes.order_by(col(StateChange.occurred_at).desc(), col(StateChange.event_id)).limit(1)
    return select(Version).where(col(Version.version).in_(newest))


def _named(model: str, name: str) -> SelectOfScalar[Version]:
    of_model = select(Version).where(Version.model == model)
    if name.removeprefix("v").isdecimal() and len(name) < 10:
        return of_model.where(Version.number == int(name.removeprefix("v")))
    return of_model.where(Version.version == name)
