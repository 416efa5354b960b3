"""`learnback keys`: who may post, and the secret behind all keys and pseudonyms."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from shared.identity import Keyring, Scope, create_secret, read_secret
from shared.settings import Platform, load
from shared.tokens import token_secret


def _keyring() -> Keyring:
    platform = load(Platform)
    return Keyring(platform.keys_file, read_secret(platform.secret_file))


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("app")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["ingest", "review"]),
    default=("ingest",),
    show_default=True,
    help="What the key may do; may be given twice.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Makes a publishable key for pages of this origin (https://shop.example); may be given several times.",
)
def create(app: str, scopes: tuple[Scope, ...], origins: tuple[str, ...]) -> None:
    """Make a key for APP and print it, this one time.

    With --origin, the second line is the token secret: your server makes a token of it for each signed-in user
    (learnback.user_token), which the page sends as the header X-Learnback-User.
    """
    if origins and set(scopes) != {"ingest"}:
        raise click.UsageError("A publishable key may only have the scope 'ingest'.")
    keyring = _keyring()
    key = keyring.create(app, frozenset(scopes), origins)
    click.echo(key)
    if origins:
        click.echo(token_secret(keyring.secret, key.split("_")[1]))


@keys.command(name="list")
def list_() -> None:
    """Show whose keys there are, never the keys."""
    table = Table("id", "app", "scopes", "origins")
    for key in _keyring().list():
        table.add_row(key.id, key.app, " ".join(sorted(key.scopes)), " ".join(key.origins))
    Console().print(table)


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Take the key with this ID back; services refuse it a second later."""
    _keyring().revoke(key_id)
    click.echo(f"Key {key_id} is revoked.")


@keys.command()
def secret() -> None:
    """Make the installation's secret, unless there is one."""
    path = load(Platform).secret_file
    create_secret(path)
    click.echo(f"The secret is at {path}. Back it up: without it, no key is valid and no user is recognised.")
