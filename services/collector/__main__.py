"""Run the collector: python -m services.collector."""

from __future__ import annotations

import sys

from services.collector.app import create_app
from services.collector.durable import DurableLog
from services.collector.settings import CollectorSettings
from services.collector.spool import Spool
from shared.audit import audited
from shared.errors import FatalError
from shared.http.server import listen, serve
from shared.identity import Keyring, read_secret
from shared.kafka import Bus
from shared.log import KafkaLog
from shared.observe import start_logging
from shared.settings import Platform, load
from shared.start import await_needs


def main() -> None:
    """Serve until told to end; a wrong setting or a port in use is one sentence on stderr."""
    logger = start_logging("collector")
    try:
        settings, platform = load(CollectorSettings), load(Platform)
        keyring, spool = await_needs("collector", settings, lambda: _needs(platform, settings))
        listener = listen(settings.host, settings.port)
        logger.info("listening", host=settings.host, port=settings.port)
        kafka = KafkaLog(Bus.of(platform), "collector", settings.ack_timeout_s)
        log = audited(DurableLog(kafka, spool))
        serve(create_app(log, keyring, settings), listener)
    except FatalError as error:
        sys.exit(str(error))


def _needs(platform: Platform, settings: CollectorSettings) -> tuple[Keyring, Spool]:
    keyring = Keyring(platform.keys_file, read_secret(platform.secret_file)).checked()
    return keyring, Spool(settings.spool_file, settings.spool_bytes)


if __name__ == "__main__":
    main()
