"""Run the evaluator: python -m services.evaluator."""

from __future__ import annotations

import sys

from sqlalchemy import Engine

from services.evaluator.history import TOPICS, History
from services.evaluator.judges import read_judges
from services.evaluator.scoring import Scorer
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.worker import Worker
from shared.artifacts import ArtifactStore
from shared.errors import FatalError
from shared.kafka import Bus
from shared.lm import loading
from shared.observe import running
from shared.policy import read_policy
from shared.settings import Platform, load
from shared.standby import stand_by
from shared.start import await_needs
from shared.tables import check_release, open_database
from shared.topics import CANDIDATES


def main() -> None:
    """Wire the evaluator and run it until SIGTERM."""
    platform, settings = load(Platform), load(EvaluatorSettings)
    policies = await_needs("evaluator", settings, lambda: read_policy(platform.policy_file))
    judges = await_needs("evaluator", settings, lambda: read_judges(policies))
    stand_by("evaluator", loading.load)
    bus = Bus.of(platform)
    engine = await_needs("evaluator", settings, lambda: _needs(platform, bus))
    with running("evaluator", settings.host, settings.port) as (pulse, stopping):
        consumer = bus.consumer("evaluator", (CANDIDATES,), pulse, max_poll_records=1)
        with bus.publisher() as publisher, bus.follower(*TOPICS) as decided:
            worker = Worker(
                consumer=consumer,
                publisher=publisher,
                decided=decided,
                history=History(),
                engine=engine,
                scorer=Scorer(ArtifactStore(platform.artifacts_url), settings.threads, judges),
                policies=policies,
                pulse=pulse,
                stopping=stopping,
            )
            try:
                worker.run()
            finally:
                consumer.close()


def _needs(platform: Platform, bus: Bus) -> Engine:
    engine = open_database(platform.database)
    check_release(engine)
    ArtifactStore(platform.artifacts_url).check()
    bus.create_topics()
    return engine


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
