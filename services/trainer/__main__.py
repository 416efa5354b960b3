"""Run the trainer: python -m services.trainer."""

from __future__ import annotations

import sys
from multiprocessing.context import ForkServerContext

from sqlalchemy import Engine

from services.trainer.checkpoint_folder import CheckpointFolder
from services.trainer.child import check_device, context
from services.trainer.desk import Desk
from services.trainer.making import Maker
from services.trainer.place import Place
from services.trainer.settings import TrainerSettings
from services.trainer.worker import Worker
from shared.artifacts import ArtifactStore
from shared.errors import FatalError
from shared.kafka import Bus
from shared.observe import running
from shared.policy import PolicyFile, read_policy
from shared.settings import Platform, load
from shared.start import await_needs
from shared.states import read_states
from shared.tables import check_release, open_database
from shared.topics import TRAINING_REQUESTS
from shared.volume import check_volume


def main() -> None:
    """Wire the trainer and run it until SIGTERM."""
    platform, settings = load(Platform), load(TrainerSettings)
    bus, forkserver = Bus.of(platform), context()
    policies, engine = await_needs("trainer", settings, lambda: _needs(platform, settings, bus, forkserver))
    with running("trainer", settings.host, settings.port) as (pulse, stopping):
        consumer = bus.consumer("trainer", (TRAINING_REQUESTS,), pulse, max_poll_records=1)
        with bus.publisher() as publisher:
            desk = Desk(
                engine,
                policies,
                lambda: read_states(bus),
                settings.work_dir / "choices",
            )
            place = Place(consumer, pulse, stopping)
            maker = Maker(
                desk=desk,
                artifacts=ArtifactStore(platform.artifacts_url),
                forkserver=forkserver,
                checkpoints=CheckpointFolder(settings.work_dir / "checkpoints", settings.checkpoint_s),
                work_dir=settings.work_dir / "unfinished",
                threads=settings.threads,
                device=settings.device,
                place=place,
            )
            try:
                Worker(place, publisher, maker).run()
            finally:
                consumer.close()


def _needs(
    platform: Platform, settings: TrainerSettings, bus: Bus, forkserver: ForkServerContext
) -> tuple[PolicyFile, Engine]:
    policies, engine = read_policy(platform.policy_file), open_database(platform.database)
    check_volume(settings.work_dir, "LEARNBACK_TRAINER_WORK_DIR")
    check_release(engine)
    ArtifactStore(platform.artifacts_url).check(writes=True)
    check_device(forkserver, settings.device)
    bus.create_topics()
    return policies, engine


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
