"""The shape of OpenAI's chat completions, so that existing clients work: bodies in, answers, chunks and errors out.

A task has one input. A conversation of one message is that message; a longer one is told as it went, so that what is
learned of it later is what was asked. Answers are greedy, as the gate judged them: what a client says of sampling is
taken and has no effect.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

from schemas.events import Id, Name, Storable, Tags
from services.predictor.requests import MaxTokens, PredictAnswer, PredictBody, Stops, User
from shared.errors import RequestError
from shared.http.problems import RETRY_AFTER_S, Problem
from shared.http.validation import Shape

NAMES = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(BaseModel):
    """What is wrong, as OpenAI tells it."""

    message: str
    type: str
    param: str | None = Field(description="Dotted path of the field that it is about.")
    code: str


class ChatRefusal(BaseModel):
    """The body of an answer that is not a success."""

    error: Refused


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    type: Literal["text"]
    text: Annotated[str, Storable]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Storable] | list[Part]
    name: str | None = None

    @property
    def text(self) -> str:
        """What was said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatBody(BaseModel):
    """What a client of OpenAI's sends, as far as it means something here."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    model: Name
    messages: Annotated[list[Message], Field(min_length=1, max_length=100)]
    stream: bool = False
    max_tokens: MaxTokens = None
    max_completion_tokens: MaxTokens = None
    stop: str | Stops | None = None
    user: User | None = None
    n: Literal[1] = 1
    prediction_id: Id | None = Field(default=None, description="Your id of this prediction; not in OpenAI's shape.")
    metadata: Tags | None = Field(default=None, description="Becomes the prediction's tags.")
    temperature: float | None = Field(default=None, description="Has no effect: answers are greedy.")
    top_p: float | None = Field(default=None, description="Has no effect.")
    seed: int | None = Field(default=None, description="Has no effect.")
    presence_penalty: float | None = Field(default=None, description="Has no effect.")
    frequency_penalty: float | None = Field(default=None, description="Has no effect.")

    def asked(self) -> PredictBody:
        """The same as a prediction's body.

        Raises:
            RequestError: 422, the conversation is empty or too long for one input.
        """
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        try:
            return PredictBody(
                model=self.model,
                input=_told(self.messages),
                prediction_id=self.prediction_id,
                user=self.user,
                tags=self.metadata or {},
                max_tokens=self.max_completion_tokens or self.max_tokens,
                stop=stop,
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise RequestError(
                422, first["type"], f"The conversation as one input: {first['msg']}.", "messages"
            ) from None


CHAT = Shape(TypeAdapter(ChatBody))


class Conversation:
    """One answer in OpenAI's shape."""

    def __init__(self, body: ChatBody) -> None:
        """Begin."""
        self._body, self._created = body, int(time.time())
        self._given: str | None = None

    def whole(self, answer: PredictAnswer) -> str:
        """An answer at once."""
        message = {"role": "assistant", "content": answer.output}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}
        return self._shape("chat.completion", answer.prediction_id, choice, answer)

    def pieces(self, prediction_id: str, text: str) -> Iterator[str]:
        """The chunks that tell what is new of a text: the first one says who speaks."""
        if self._given is None:
            self._given = ""
            yield self._chunk(prediction_id, {"role": "assistant", "content": ""}, None)
        if len(text) > len(self._given):
            yield self._chunk(prediction_id, {"content": text[len(self._given) :]}, None)
            self._given = text

    def end(self, answer: PredictAnswer) -> str:
        """The last chunk."""
        return self._chunk(answer.prediction_id, {}, answer)

    def _chunk(self, prediction_id: str, delta: dict[str, str], answer: PredictAnswer | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": answer and answer.finish, "logprobs": None}
        return self._shape("chat.completion.chunk", prediction_id, choice, answer)

    def _shape(self, kind: str, prediction_id: str, choice: dict[str, Any], answer: PredictAnswer | None) -> str:
        told = {
            "id": prediction_id,
            "object": kind,
            "created": self._created,
            "model": self._body.model,
            "choices": [choice],
        }
        if answer:
            told["learnback"] = {"version": answer.version, "solicit": answer.solicit}
        return json.dumps(told, ensure_ascii=False)


def refusal(told: Problem) -> Response:
    """A problem in OpenAI's shape."""
    kind = KINDS.get(told.status, "invalid_request_error" if told.status < 500 else "server_error")
    body = ChatRefusal(error=Refused(message=told.detail, type=kind, param=told.field, code=told.code))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if told.status in (503, 504) else {}
    return Response(body.model_dump_json(), told.status, headers, "application/json")


def _told(messages: list[Message]) -> str:
    """A conversation as one input."""
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{NAMES[one.role]}: {one.text}" for one in messages)
