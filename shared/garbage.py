"""How often Python looks for cyclic garbage: seldom, in services that make and drop objects by the thousand.

With its own 700 objects between two looks, one batch of the recorder caused hundreds of them, each through thousands of
objects that were all in use: a third of its CPU time (docs/log.md). What is no longer used goes by its reference count
all the same; this is about cycles, such as those of exceptions.
"""

from __future__ import annotations

import gc

LIST = 50_000  # objects: more than a request makes
BATCH = 200_000  # objects: as many as a batch of 5,000 events makes


def spare(objects: int) -> None:
    """Let what is loaded stay for ever, and look for garbage only after so many more objects."""
    gc.freeze()
    gc.set_threshold(objects)
