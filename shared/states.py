"""Which version each alias of each model names, as the compacted models topic tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.events import ModelStateChanged
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.kafka import Bus
from shared.topics import MODELS

States = dict[tuple[str, str], ModelStateChanged]


def apply(states: States, records: Iterable[Any]) -> States:
    """The states after these records of the models topic; the last one of each (model, alias) holds.

    A record that is no ModelStateChanged changes nothing: the recorder puts it to the dead letters.
    """
    for record in records:
        try:
            state = unseal(record.value, record.headers, MODELS)
        except InvalidEventError:
            continue
        if isinstance(state, ModelStateChanged):
            states = {**states, (state.model, state.alias): state}
    return states


def read_states(bus: Bus) -> States:
    """All aliases as they are now."""
    with bus.follower(MODELS) as follower:
        return apply({}, follower.catch_up())
