"""One address for several servers: python -m bench.scale.address PORT SERVER_PORT SERVER_PORT.

It passes connections on as they are (TCP), each to the next server in turn, and past those that refuse: what a
Kubernetes Service does with replicas that are ready. A connection whose server dies is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys

from local.layout import HOST

CHUNK = 64 * 1024


async def serve(port: int, servers: list[int]) -> None:
    """Pass connections on until the process is ended."""
    turn = itertools.cycle(servers)

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for server in itertools.islice(turn, len(servers)):
                with contextlib.suppress(OSError):
                    inner, outer = await asyncio.open_connection(HOST, server)
                    break
            else:
                return
            with contextlib.closing(outer):
                await asyncio.wait(
                    [asyncio.create_task(_pass_on(reader, outer)), asyncio.create_task(_pass_on(inner, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async with await asyncio.start_server(on_connection, HOST, port) as server:
        await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(CHUNK):
            writer.write(some)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(one) for one in sys.argv[2:]]))
