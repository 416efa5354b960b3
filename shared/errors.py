"""Every error that Learnback raises on purpose.

LearnbackError
├── BadInputError             the caller's fault: told to the caller, never retried, never fatal
│   ├── InvalidEventError     a message that is not the event it should be → dead letters
│   ├── RequestError          an HTTP request that is refused, with its status and the item of a list it is about
│   │   └── ListRefusedError  a list of which no item is taken, with the refusal of each
│   ├── UnknownModelError     no model of that name serves here
│   └── ForbiddenError        no key, a wrong key, or a key without the scope
├── ArtifactError             a version's files are missing, torn, altered or not finite: never serve it
├── UnavailableError          something that we need is away: try again later; nothing was kept
│   └── UnconfirmedError      … and it is not known whether something was kept: a repeat with the same ids is harmless
└── FatalError                the process cannot go on: it says what to do and ends
    └── ConfigError           a setting is wrong

Each message says what happened, to which thing, and what to do; none holds user text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class LearnbackError(Exception):
    """Root of the tree."""


class BadInputError(LearnbackError):
    """The caller's fault."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        """Make one from a machine-readable `code`, a sentence, and the field it is about."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field


class InvalidEventError(BadInputError):
    """A message that is not the event it should be."""


class RequestError(BadInputError):
    """An HTTP request that is refused."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        field: str | None = None,
        event_index: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make one with the answer's status, the item of a list that it is about, and headers that help."""
        super().__init__(code, detail, field)
        self.status = status
        self.event_index = event_index
        self.headers = headers

    def at(self, index: int | None) -> RequestError:
        """The same refusal, of an item of a list."""
        self.event_index = index
        return self


class ListRefusedError(RequestError):
    """A list of which no item is taken."""

    def __init__(self, errors: Sequence[RequestError]) -> None:
        """Make one of the items' refusals, of which the first speaks for all."""
        first = errors[0]
        super().__init__(first.status, first.code, first.detail, first.field, first.event_index, first.headers)
        self.errors = tuple(errors)


class UnknownModelError(BadInputError):
    """No model of that name serves here."""

    def __init__(self, model: str) -> None:
        """Make one for the model's name (already known to be a valid name)."""
        super().__init__(
            "unknown_model", f"No model '{model}' serves here; GET /v1/models lists those that do.", "model"
        )


class ForbiddenError(BadInputError):
    """No key, a wrong key, or a key without the scope."""


class ArtifactError(LearnbackError):
    """A version's files cannot be trusted."""


class UnavailableError(LearnbackError):
    """Something that we need is away."""

    status, code = 503, "unavailable"


class UnconfirmedError(UnavailableError):
    """It cannot be known whether what was asked has happened."""

    status, code = 504, "unconfirmed"


class FatalError(LearnbackError):
    """The process cannot go on."""


class ConfigError(FatalError):
    """A setting is wrong."""
