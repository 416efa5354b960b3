"""The command `learnback`. Run as: learnback --help, or python -m cli."""

from __future__ import annotations

import sys

import click
from kafka.errors import KafkaError

from cli.backtest import backtest
from cli.backup import backup, restore
from cli.dlq import dlq
from cli.export import export
from cli.keys import keys
from cli.models import models
from cli.prune import prune
from cli.records import digest, replay
from cli.secrets import secrets
from cli.topics import topics
from shared.errors import LearnbackError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def learnback() -> None:
    """Turn what users say about a model's answers into a better model."""


learnback.add_command(backtest)
learnback.add_command(backup)
learnback.add_command(digest)
learnback.add_command(dlq)
learnback.add_command(export)
learnback.add_command(keys)
learnback.add_command(models)
learnback.add_command(prune)
learnback.add_command(replay)
learnback.add_command(restore)
learnback.add_command(secrets)
learnback.add_command(topics)


def main() -> None:
    """Run the command; an error that we know is one sentence on stderr and exit code 1 (2 for wrong usage)."""
    try:
        learnback.main(prog_name="learnback")
    except LearnbackError as error:
        click.echo(str(error), err=True)
    except KafkaError as error:
        click.echo(
            f"Kafka does not answer ({type(error).__name__}). Is it running at the address that"
            " LEARNBACK_KAFKA_BOOTSTRAP_SERVERS names, and are the topics there (learnback topics create)?",
            err=True,
        )
    sys.exit(1)


if __name__ == "__main__":
    main()
