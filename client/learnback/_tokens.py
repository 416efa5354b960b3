"""Tokens by which an app's server vouches for a signed-in user to a page that sends feedback itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time

LONGEST_S = 15 * 60


def user_token(secret: str, app: str, user: str, seconds: int = 300) -> str:
    """A token for one request: the page sends it as the header `X-Learnback-User`.

    Args:
        secret: the token secret (`lbs_…`) that `learnback keys create APP --origin …` printed. Keep it on the server.
        app: the app's name, as in that command.
        user: your id of the signed-in user.
        seconds: how long the token is good for, at most 900.

    Raises:
        ValueError: `seconds` is not within 1 to 900.
    """
    if not 1 <= seconds <= LONGEST_S:
        raise ValueError(f"A user token is good for 1 to {LONGEST_S} seconds.")
    expiry, nonce = int(time.time()) + seconds, os.urandom(16).hex()
    said = f"{app}\x1f{user}\x1f{expiry}\x1f{nonce}".encode()
    mac = hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()
    encoded = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=").replace("_", ".")
    return f"lbt_{encoded}_{expiry}_{nonce}_{mac}"
