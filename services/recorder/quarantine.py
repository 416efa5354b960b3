"""At its start the recorder sends again what waits in the quarantine and is known by now, after an upgrade."""

from __future__ import annotations

from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.kafka import Bus, Publisher
from shared.letters import Letter, mark_redriven, read
from shared.topics import QUARANTINE


def send_known(bus: Bus, publisher: Publisher) -> int:
    """Send records to their topics whose version is known now; how many.

    A record is sent before its letter is marked: a crash in between sends it twice, and its id makes that harmless.

    Raises:
        UnavailableError: a record is not known to be durable; it is sent at the next start.
    """
    with bus.follower(QUARANTINE) as follower:
        newest = {record.key: record for record in follower.catch_up()}
    sent = 0
    for record in newest.values():
        if record.value is None:
            continue
        letter = read(record, quarantined=True)
        if not letter.redriven and _is_known(bus, letter):
            publisher.send_back(letter)
            publisher.send(mark_redriven(record, QUARANTINE))
            sent += 1
    return sent


def _is_known(bus: Bus, letter: Letter) -> bool:
    original = letter.original
    topic = bus.find(original.topic)
    if letter.reason != "unknown_version" or topic is None or topic is QUARANTINE:
        return False
    try:
        unseal(original.value, original.headers, topic)
    except InvalidEventError:
        return False
    return True
