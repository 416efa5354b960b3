"""The deployer: the versions of one base as adapters on a vLLM server, where the predictor has been outgrown.

An adapter has its version's id for a name and a folder of its own, so a stale one cannot answer for another. It is
written where the server can read it, loaded, and has said two tokens before anybody is sent there; it is unloaded when
nobody is any more and its last answer has ended. What a server that was started again has lost is loaded anew.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client
import structlog

from services.predictor.adapter import write_adapter
from services.predictor.vllm import MissingError, RefusedError, Vllm
from shared.errors import LearnbackError, UnavailableError
from shared.lm.lora import WEIGHTS
from shared.lm.prompts import MAX_NEW, Prompts
from shared.lm.task import Asked
from shared.manifest import sha256

if TYPE_CHECKING:
    from shared.lm.decoding import Finish

GRACE_S = 30.0  # a version stays so long: other predictors, which ask the same server, hear the news a little later
PROBE = "warm up"

UP = prometheus_client.Gauge("learnback_vllm_up", "1 while the vLLM server of a base answers", ["base"])
LOADED = prometheus_client.Counter("learnback_vllm_loads_total", "Adapters loaded on the vLLM server", ["base"])

log = structlog.get_logger()


class Deployer:
    """Adapters on one server. Versions are loaded and dropped on threads; answers come on the event loop."""

    def __init__(self, base: str, server: Vllm, folder: Path, seen_as: str, grace_s: float = GRACE_S) -> None:
        """Make one; `folder` is where adapters are written, and `seen_as` what the server calls that folder."""
        self._base, self._server = base, server
        self._folder, self._seen_as, self._grace_s = folder, seen_as.rstrip("/"), grace_s
        self._files: dict[str, Path] = {}  # of each version that was to answer and is not unloaded yet
        self._dropped: dict[str, float] = {}  # when, of those that are not to answer any more
        self._answering: Counter[str] = Counter()
        self._changing = threading.Lock()
        self._began = time.monotonic()

    @property
    def versions(self) -> frozenset[str]:
        """The versions that are to answer."""
        return frozenset(self._files.keys() - self._dropped.keys())

    def load(self, version: str, files: Path) -> None:
        """Make a version ready to answer from its files.

        Raises:
            ArtifactError: the files cannot be trusted.
            RefusedError: the server does not take the adapter, or too short prompts.
            UnavailableError: the server does not answer.
        """
        self._files[version] = files
        self._dropped.pop(version, None)
        try:
            self._check_room()
            self._put(version)
            self._server.probe(version, self._prompts.prompts([PROBE])[0])
        except BaseException:
            self.drop(version)
            raise

    def drop(self, version: str) -> None:
        """Send nobody there any more; it is unloaded when its last answer has ended."""
        self._dropped[version] = time.monotonic()

    async def talk(self, asked: Asked) -> AsyncGenerator[tuple[str, Finish | None], None]:
        """What a version's answer is so far, again and again until it has ended.

        Raises:
            UnavailableError: the server does not answer.
        """
        [prompt] = self._prompts.prompts([asked.input])
        told = (asked.version, prompt, min(asked.max_tokens or MAX_NEW, MAX_NEW), asked.stops, self._prompts.end)
        self._answering[asked.version] += 1
        try:
            for attempt in (1, 2):
                try:
                    async with aclosing(self._server.answer(*told)) as answering:
                        async for text, finish in answering:
                            yield text, finish
                    return
                except MissingError:
                    if attempt == 2:
                        raise UnavailableError(f"vLLM at {self._server.url} has lost {asked.version}.") from None
                    await self._restore(asked.version)
        finally:
            self._answering[asked.version] -= 1

    def reconcile(self) -> None:
        """Load what the server should have and has not, and unload what nobody needs. It raises nothing."""
        try:
            present = self._server.adapters()
            UP.labels(self._base).set(1)
            for version in sorted(self.versions - present.keys()):
                self._put(version)
            ours = {name for name, path in present.items() if path == self._path(name)}
            for version in sorted(ours | self._dropped.keys()):
                self._clear(version)
        except UnavailableError as error:
            UP.labels(self._base).set(0)
            log.warning("vllm_away", base=self._base, reason=str(error))
        except (LearnbackError, OSError) as error:
            reason = str(error) if isinstance(error, LearnbackError) else type(error).__name__
            log.error("vllm_not_as_it_should_be", base=self._base, reason=reason)

    async def close(self) -> None:
        """Close the connections; the adapters stay for who comes next."""
        await self._server.close()

    @cached_property
    def _prompts(self) -> Prompts:
        return Prompts(self._base)

    def _check_room(self) -> None:
        room, needed = self._server.room(), self._prompts.longest + MAX_NEW
        if room < needed:
            raise RefusedError(
                f"vLLM at {self._server.url} takes {room} tokens, and prompt and answer may have {needed}: "
                f"start it with --max-model-len {needed} or more."
            )

    async def _restore(self, version: str) -> None:
        """Load again what the server has lost.

        Raises:
            UnavailableError: that failed.
        """
        try:
            await asyncio.to_thread(self._put, version)
        except LearnbackError as error:
            raise UnavailableError(str(error)) from None

    def _put(self, version: str) -> None:
        """Load a version, unless the server has it."""
        with self._changing:
            if version not in self._server.adapters():
                self._write(version)
                self._server.load(version, self._path(version))
                LOADED.labels(self._base).inc()
                log.info("vllm_loaded", base=self._base, version=version)

    def _path(self, version: str) -> str:
        return f"{self._seen_as}/{version}"

    def _write(self, version: str) -> None:
        """Write a version's folder, all of it or nothing; one whose weights are the version's stays."""
        files, folder = self._files[version], self._folder / version
        if folder.exists() and sha256(folder / WEIGHTS) == sha256(files / WEIGHTS):
            return
        staged = self._folder / f".{version}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        write_adapter("generation", self._base, files, staged)
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)

    def _clear(self, version: str) -> None:
        """Unload a version and remove its folder, if nobody needs it and nobody has for a while."""
        with self._changing:
            since = self._dropped.get(version, self._began)
            if version in self.versions or self._answering[version] or time.monotonic() - since < self._grace_s:
                return
            self._server.unload(version)
            shutil.rmtree(self._folder / version, ignore_errors=True)
            self._files.pop(version, None)
            self._dropped.pop(version, None)
            log.info("vllm_unloaded", base=self._base, version=version)
