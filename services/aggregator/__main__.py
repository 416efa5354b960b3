"""Run the aggregator: python -m services.aggregator."""

from __future__ import annotations

import sys

from services.aggregator.changelogs import Changelogs
from services.aggregator.settings import AggregatorSettings
from services.aggregator.topics import APP, CHANGELOGS, INTERNAL
from shared import garbage
from shared.errors import FatalError
from shared.kafka import Bus
from shared.observe import running
from shared.policy import PolicyFile, read_policy
from shared.settings import Platform, load
from shared.start import await_needs


def main() -> None:
    """Wire the aggregator and run it until SIGTERM, which Faust handles once it runs."""
    platform, settings = load(Platform), load(AggregatorSettings)
    bus = Bus.of(platform)
    policies = await_needs(APP, settings, lambda: _needs(platform, bus))
    with running(APP, settings.host, settings.port) as (pulse, _):
        changelogs = Changelogs(bus, CHANGELOGS)

        from faust import Worker  # after reading has begun: it takes seconds

        from services.aggregator.app import create

        aggregator = create(bus, settings, policies, pulse, changelogs.read())
        worker = Worker(aggregator.app, quiet=True, override_logging=False, redirect_stdouts=False)
        worker.spinner = None  # it would draw between the JSON lines
        garbage.spare(garbage.BATCH)
        worker.execute_from_commandline()


def _needs(platform: Platform, bus: Bus) -> PolicyFile:
    policies = read_policy(platform.policy_file)
    bus.create_topics(INTERNAL)
    return policies


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
