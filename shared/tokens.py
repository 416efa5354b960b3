"""Tokens by which an app's server vouches for a user whom it has signed in, to a page that anybody can read.

`lbt_<user>_<expiry>_<nonce>_<mac>`: the user's id in base64url, Unix seconds, a random word, and an HMAC-SHA256 over
app, user, expiry and nonce. Its secret belongs to one publishable key, is made from the installation's secret, and is
stored nowhere here. `client/learnback/_tokens.py` makes tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import datetime

from shared.errors import RequestError

LONGEST_S = 15 * 60  # a token that is stolen is of no use after this
LEEWAY_S = 60  # between two clocks
FIELD = "x-learnback-user"
_TOKEN = re.compile(r"lbt_([A-Za-z0-9.-]{1,1200})_([0-9]{1,12})_([0-9a-f]{16,64})_([0-9a-f]{64})")


@dataclass(frozen=True)
class Voucher:
    """What a good token says. It is good once."""

    user: str
    nonce: str


def token_secret(secret: bytes, key_id: str) -> str:
    """The secret with which an app's server makes tokens for pages that use this key."""
    return "lbs_" + hmac.new(secret, f"token\x1f{key_id}".encode(), hashlib.sha256).hexdigest()


def verify(token: str, app: str, secret: str, at: datetime) -> Voucher:
    """What a token says at a time.

    Raises:
        RequestError: 401 `invalid_token` or `token_expired`.
    """
    found = _TOKEN.fullmatch(token)
    if not found:
        raise _refusal("invalid_token", "This is no user token.")
    user, expiry, nonce, mac = _decode(found[1]), int(found[2]), found[3], found[4]
    said = f"{app}\x1f{user}\x1f{expiry}\x1f{nonce}".encode()
    if not hmac.compare_digest(hmac.new(secret.encode(), said, hashlib.sha256).hexdigest(), mac):
        raise _refusal("invalid_token", "The user token was not made with this key's token secret.")
    left = expiry - at.timestamp()
    if left < -LEEWAY_S:
        raise _refusal("token_expired", "The user token has expired; fetch another one. If it is new, see the clocks.")
    if left > LONGEST_S + LEEWAY_S:
        raise _refusal("invalid_token", f"A user token is good for at most {LONGEST_S // 60} minutes.")
    return Voucher(user, nonce)


def _decode(text: str) -> str:
    try:
        return urlsafe_b64decode((text.replace(".", "_") + "==").encode()).decode()
    except ValueError:
        raise _refusal("invalid_token", "This is no user token.") from None


def _refusal(code: str, detail: str) -> RequestError:
    return RequestError(401, code, detail, FIELD)
