"""`learnback models`: add a model to the loop, and see which versions serve."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from cli.birth import follow, listening
from cli.collector import request_training
from cli.examples import read_anchor, read_examples
from cli.progress import LiveBar, describe
from schemas.events import Dataset, ModelCard, ModelStateChanged, Name, Task
from shared.artifacts import ArtifactStore
from shared.datasets import store_dataset
from shared.errors import BadInputError
from shared.kafka import Bus
from shared.settings import Platform, load
from shared.states import read_states

TASKS: tuple[Task, ...] = get_args(Task)
FILE = click.Path(path_type=Path)
EXAMPLES = (
    'First examples: JSONL of {"text", "label"}; for generation of {"text", "output"}, an output being text or JSON.'
)


@click.group()
def models() -> None:
    """Add models and list what serves."""


@models.command()
@click.argument("name")
@click.option("--task", type=click.Choice(TASKS), required=True, help="Answer with a label, or write text.")
@click.option("--base", required=True, help="Hugging Face id or path of the pretrained model.")
@click.option("--examples", type=FILE, required=True, help=EXAMPLES)
@click.option("--anchor", type=FILE, help="Golden examples that no candidate may get worse on.")
@click.option("--collector", default="http://127.0.0.1:8710", envvar="LEARNBACK_COLLECTOR_URL", show_default=True)
@click.option("--key", envvar="LEARNBACK_KEY", help="An API key with the scope review …")
@click.option(
    "--key-file", type=FILE, default=".learnback/board.key", envvar="LEARNBACK_KEY_FILE", help="… or where it is."
)
@click.option("--no-wait", is_flag=True, help="Return when the request is made, not when the model serves.")
def add(
    name: str,
    task: Task,
    base: str,
    examples: Path,
    anchor: Path | None,
    collector: str,
    key: str | None,
    key_file: Path,
    no_wait: bool,
) -> None:
    """Train the first version of a model from examples, and let it serve. NAME is what it will be called."""
    _check_name(name)
    platform, console = load(Platform), Console()
    bus = Bus.of(platform)
    card = _card(ArtifactStore(platform.artifacts_url), task, base, examples, anchor)
    key = key or _read_key(key_file)
    _check_new(bus, name)
    with listening(bus) as follower:
        request_id = request_training(collector, key, name, card)
        console.print(f"Request {request_id}: {name} learns from {card.examples.rows} examples.", highlight=False)
        if no_wait:
            return
        with LiveBar(name, console, "waiting for the trainer") as bar:
            for news in follow(bus, follower, request_id):
                if isinstance(news, ModelStateChanged):
                    version = news.version
                else:
                    bar.show(news.step, news.steps, describe(news), is_news=news.state != "running")
    console.print(f"{name} serves with version {version}.", highlight=False)


@models.command(name="list")
def list_() -> None:
    """Show which version each model serves, and which is on trial."""
    known = read_states(Bus.of(load(Platform)))
    states = {place: state for place, state in known.items() if state.alias == "champion" or state.share}
    if not states:
        click.echo("No model yet. Add one: learnback models add --help")
        return
    table = Table("model", "alias", "version", "task", "base", "since", "reason")
    for _, state in sorted(states.items()):
        since = state.occurred_at.strftime("%Y-%m-%d %H:%M:%S")
        alias = f"{state.alias} ({state.share:.0%})" if state.share else state.alias
        table.add_row(state.model, alias, state.version, state.task, state.base, since, state.reason)
    Console().print(table)


def _check_name(name: str) -> None:
    try:
        TypeAdapter[str](Name).validate_python(name)
    except ValidationError:
        raise BadInputError(
            "invalid_name", "A model's name is lower-case letters, digits, '.', '_' and '-', at most 64.", "name"
        ) from None


def _check_new(bus: Bus, name: str) -> None:
    if state := read_states(bus).get((name, "champion")):
        raise BadInputError("model_exists", f"{name} serves already (version {state.version}); choose another name.")


def _read_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise BadInputError(
            "no_key",
            f"No API key at {path} ({error.strerror}). Make one with: learnback keys create NAME --scope review,"
            " and give it with --key or --key-file.",
        ) from None


def _card(store: ArtifactStore, task: Task, base: str, examples: Path, anchor: Path | None) -> ModelCard:
    rows = read_examples(examples, task)
    golden = read_anchor(anchor, task, rows) if anchor else None
    stored: Dataset | None = store_dataset(store, golden) if golden else None
    return ModelCard(task=task, base=base, examples=store_dataset(store, rows), anchor=stored)
