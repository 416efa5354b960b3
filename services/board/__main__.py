"""Run the board: `python -m services.board`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from services.board.settings import BoardSettings
from shared.errors import ConfigError, FatalError
from shared.settings import Platform, load

APP = Path(__file__).with_name("app.py")


def main() -> None:
    """Check the settings and become Streamlit, which keeps this process id and ends on SIGTERM."""
    try:
        settings = load(BoardSettings)
        load(Platform)
        claim(settings.host, settings.port)
    except FatalError as error:
        sys.exit(str(error))
    os.execv(sys.executable, command(settings))


def command(settings: BoardSettings) -> list[str]:
    """The command line of the server; everything else is in `.streamlit/config.toml`."""
    address = [f"--server.address={settings.host}", f"--server.port={settings.port}"]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *address]


def claim(host: str, port: int) -> None:
    """See that the port is free.

    Raises:
        ConfigError: it is not, or the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"The board cannot listen on {host}:{port} ({error.strerror}). End what uses the port, or set "
                "LEARNBACK_BOARD_HOST and LEARNBACK_BOARD_PORT."
            ) from None


if __name__ == "__main__":
    main()
