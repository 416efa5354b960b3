"""When two inputs are the same input: normal form, fingerprint, and the ids made from them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"\w+")
CLASS = 16  # hex digits of an example's id that its near-duplicates share
AFTER_HEX = "g"  # the character after the last hex digit: ids that begin alike end before it


def normalise(text: str) -> str:
    """The normal form of an input: compatibility characters folded, lower case, single spaces."""
    if text.isascii():  # where nothing has another form
        return " ".join(text.lower().split())
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def fingerprint(text: str) -> str:
    """A key that near-duplicates share: sorted unique words without accents, case or punctuation.

    This is OpenRefine's «fingerprint» key collision. Unlike a similarity it is an equivalence, so the side
    (train or holdout) can be fixed for a whole class of near-duplicates, whatever order they arrive in.
    A text without any word is its own class.
    """
    return _fingerprint(normalise(text))


def _fingerprint(normal: str) -> str:
    words = sorted(set(_WORDS.findall(normal if normal.isascii() else _without_accents(normal))))
    return short_hash(" ".join(words) if words else normal)


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def example_id(model: str, text: str) -> str:
    """The id of an input within a model: equal for inputs with the same normal form.

    32 hex digits. Near-duplicates share the first half, so that an index of ids finds a whole class side by side and a
    second one, of fingerprints, is not needed: each index in the order of a hash is another page written a row.
    """
    normal = normalise(text)
    return short_hash(model, _fingerprint(normal))[:CLASS] + short_hash(normal)[CLASS:]


def class_of(example: str) -> str:
    """What the ids of an example and of its near-duplicates begin with."""
    return example[:CLASS]


def short_hash(*parts: str) -> str:
    """32 hex digits of SHA-256 over the parts, which cannot run into each other (each is prefixed by its length)."""
    raw = [part.encode() for part in parts]
    return hashlib.sha256(b"".join([len(one).to_bytes(8, "big") + one for one in raw])).hexdigest()[:32]
