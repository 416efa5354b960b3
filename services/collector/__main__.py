"""Run the collector: python -m services.collector."""

from __future__ import annotations

import logging
import sys

from services.collector.app import create_app
from services.collector.settings import CollectorSettings
from shared.audit import audited
from shared.errors import FatalError
from shared.http.server import listen, serve
from shared.identity import Keyring, read_secret
from shared.kafka import Bus
from shared.log import KafkaLog
from shared.observe import start_logging
from shared.settings import Platform, load


def main() -> None:
    """Serve until told to end; a wrong setting or a port in use is one sentence on stderr."""
    logger = start_logging("collector")
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # it tells an outage 20 times a second, the log tells it once
    try:
        settings, platform = load(CollectorSettings), load(Platform)
        keyring = Keyring(platform.keys_file, read_secret(platform.secret_file))
        listener = listen(settings.host, settings.port)
        logger.info("listening", host=settings.host, port=settings.port)
        log = audited(KafkaLog(Bus.of(platform), "collector", settings.ack_timeout_s))
        serve(create_app(log, keyring), listener)
    except FatalError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
