"""Run the predictor: python -m services.predictor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from services.predictor.answers import Kind
from services.predictor.app import create_app
from services.predictor.batching import Batcher, Limits
from services.predictor.desk import Desk
from services.predictor.follow import states
from services.predictor.serving import Serving
from services.predictor.settings import PredictorSettings
from services.predictor.talking import Talker
from services.predictor.vllm import Vllm
from shared.artifacts import ArtifactStore
from shared.audit import audited
from shared.errors import FatalError
from shared.http.server import listen, serve
from shared.identity import Keyring, read_secret
from shared.kafka import Bus
from shared.lm import loading
from shared.log import KafkaLog
from shared.observe import start_logging
from shared.policy import PolicyFile, read_policy
from shared.settings import Platform, load
from shared.standby import stand_by
from shared.start import await_needs

if TYPE_CHECKING:
    from services.predictor.deployer import Deployer


def main() -> None:
    """Serve until told to end; a wrong setting or a port in use is one sentence on stderr."""
    logger = start_logging("predictor")
    settings, platform = load(PredictorSettings), load(Platform)
    policies, keyring = await_needs("predictor", settings, lambda: _needs(platform))
    listener = listen(settings.host, settings.port)
    stand_by("predictor", loading.load)
    bus = Bus.of(platform)
    serving = Serving(ArtifactStore(platform.artifacts_url), settings.threads, _deployers(settings))
    batcher = Batcher(serving, Limits(settings.max_batch, settings.max_batch_ms / 1000, settings.max_queue))
    desk = Desk(
        serving=serving,
        batcher=batcher,
        talker=Talker(serving, batcher, settings.max_queue),
        log=audited(KafkaLog(bus, "predictor")),
        keyring=keyring,
        policies=policies,
        news=lambda: states(bus),
    )
    logger.info("listening", host=settings.host, port=settings.port)
    serve(create_app(desk), listener)


def _needs(platform: Platform) -> tuple[PolicyFile, Keyring]:
    ArtifactStore(platform.artifacts_url).check()
    keyring = Keyring(platform.keys_file, read_secret(platform.secret_file)).checked()
    return read_policy(platform.policy_file), keyring


def _deployers(settings: PredictorSettings) -> dict[Kind, Deployer]:
    """Those for the bases that vLLM servers answer with."""
    from services.predictor.deployer import Deployer  # it needs what `loading.load` imports leaner

    folder = settings.vllm_folder.absolute()
    return {
        ("generation", base): Deployer(base, Vllm(url), folder, settings.vllm_sees or str(folder))
        for base, url in settings.vllm.items()
    }


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
