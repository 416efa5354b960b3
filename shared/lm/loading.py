"""Imports torch, transformers and peft before anything else that a service does, and leaner than `import` would.

They are nearly all that a predictor or evaluator needs to start: 4.9 s of CPU (shared/standby.py spares those who are
killed). Two things make it less: the garbage collector, which would look again and again through objects that all stay,
waits; and what is imported only because it is installed is not found (docs/log.md).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, reload
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from shared.lm.task import Task

# Each task of `schemas.events.Task` and the class that does it: what a service needs to know of tasks.
TASKS = {
    "classification": "shared.lm.classification:Classification",
    "generation": "shared.lm.generation:Generation",
}

# Imported wherever they are installed: a compiler of GPU kernels by torch._dynamo (0.3 s), scipy for a loss of object
# detection (0.5 s) and jinja2 for chats (0.06 s) by transformers, a pickler by torch's data pipes (0.08 s; it comes
# with the tests' oracles alone). Nothing here compiles, detects objects or pickles code; who chats calls `chats`.
UNUSED = ("triton", "scipy", "jinja2", "dill")


def load() -> None:
    """Import."""
    with _lean():
        for task in TASKS.values():
            import_module(task.partition(":")[0])


def task(name: str, base: str, threads: int = 0, device: str = "cpu") -> Task:
    """A base in memory and what does a task on it, computing on so many cores; 0 are all of them.

    Raises:
        ArtifactError, ConfigError: see `shared.lm.bases.locate` and `shared.lm.devices.chosen`.
    """
    import torch  # it takes seconds, and so do the tasks

    from shared.lm.devices import chosen

    module, _, made = TASKS[name].partition(":")
    if threads:
        torch.set_num_threads(threads)
    return cast("Task", getattr(import_module(module), made)(base, chosen(device)))


def chats() -> None:
    """Let transformers find jinja2, of which chat templates are made, where `load` had hidden it.

    A reloaded module keeps its dictionary, so functions that others have taken from it see what is new there.
    """
    from transformers.utils import chat_template_utils, import_utils

    if not import_utils.is_jinja_available():
        import_utils.is_jinja_available.cache_clear()
        reload(chat_template_utils)


@contextmanager
def _lean() -> Iterator[None]:
    """No collection, and nothing unused: None in `sys.modules` is how Python is told that there is no such module."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    gc.disable()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # typeshed knows of modules alone
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()  # imported once, there for ever: no later collection need look at it
        gc.enable()
