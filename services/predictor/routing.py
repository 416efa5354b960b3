"""Who is served by a canary: a share of the users, drawn by a hash, so that each stays where they are.

Another canary draws anew: nobody is the one on whom every trial is made.
"""

from __future__ import annotations

import hashlib

DRAWS = 2**64


def takes_canary(canary: str, subject: str, share: float) -> bool:
    """Whether a subject (a user's pseudonym, or the prediction's id where nobody is named) is among the `share`."""
    drawn = hashlib.blake2b(f"{canary}\x1f{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) < share * DRAWS
