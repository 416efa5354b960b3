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
from shared.policy import read_policy
from shared.settings import Platform, load


def main() -> None:
    """Wire the aggregator and run it until SIGTERM, which Faust handles once it runs."""
    platform, settings = load(Platform), load(AggregatorSettings)
    policies = read_policy(platform.policy_file)
    bus = Bus.of(platform)
    with running(APP, settings.host, settings.port) as (pulse, stopping):
        bus.await_topics(stopping, INTERNAL)
        if stopping.is_set():
            return
        changelogs = Changelogs(bus, CHANGELOGS)

        from faust import Worker  # after reading has begun: it takes seconds

        from services.aggregator.app import create

        aggregator = create(bus, settings, policies, pulse, changelogs.read())
        worker = Worker(aggregator.app, quiet=True, override_logging=False, redirect_stdouts=False)
        worker.spinner = None  # it would draw between the JSON lines
        garbage.spare(garbage.BATCH)
        worker.execute_from_commandline()


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
