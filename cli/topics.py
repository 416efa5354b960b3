"""`learnback topics`: make what every service needs before it starts."""

from __future__ import annotations

import click

from shared.kafka import Bus
from shared.settings import Platform, load
from shared.topics import TOPICS


@click.group()
def topics() -> None:
    """Create the topics."""


@topics.command()
def create() -> None:
    """Create the topics that are missing. Safe to repeat; run it before any service starts."""
    bus = Bus.of(load(Platform))
    bus.create_topics()
    click.echo(f"{len(TOPICS)} topics are on {bus.servers}.")
