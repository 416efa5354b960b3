"""What a vLLM server is told and says: which adapters it has, and answers while it makes them.

It serves one base, with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`. A prompt goes there as token ids,
so that it is the one that was trained on, whatever a text says of chat templates.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from shared.errors import LearnbackError, UnavailableError

if TYPE_CHECKING:
    from shared.lm.decoding import Finish

CONNECT_S, LOAD_S, TOKEN_S = 3.0, 60.0, 60.0  # to reach it; to load an adapter; between two tokens of an answer
# A base's generation_config.json tells vLLM how to sample where a request does not: the gate judged greedy answers.
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length"}
PRELOADED = "has already been loaded"  # vLLM's words, 400


class RefusedError(LearnbackError):
    """The server does not take an adapter; says why."""


class MissingError(LearnbackError):
    """The server does not have an adapter: it has been started again."""


class Vllm:
    """One server. Management blocks, as it runs on threads; answers are awaited."""

    def __init__(self, url: str) -> None:
        """Open nothing yet."""
        self.url = url
        managing, asking = (
            httpx.Timeout(LOAD_S, connect=CONNECT_S),
            httpx.Timeout(TOKEN_S, connect=CONNECT_S, pool=None),
        )
        self._managing = httpx.Client(base_url=url, timeout=managing, trust_env=False)
        unbound = httpx.Limits(max_connections=None)
        self._asking = httpx.AsyncClient(base_url=url, timeout=asking, limits=unbound, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        self._managing.close()
        await self._asking.aclose()

    def adapters(self) -> dict[str, str]:
        """The path of each adapter by its name.

        Raises:
            UnavailableError: the server does not answer.
        """
        return {one["id"]: one["root"] for one in self._models() if one.get("parent")}

    def room(self) -> int:
        """How many tokens prompt and answer may have together. Raises as `adapters`."""
        return min(int(one["max_model_len"]) for one in self._models() if not one.get("parent"))

    def load(self, name: str, path: str) -> None:
        """Have an adapter loaded from a path as the server sees it; one that it has already stays.

        Raises:
            UnavailableError: the server does not answer.
            RefusedError: it does not take the adapter.
        """
        answer = self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if answer.status_code != 200 and PRELOADED not in answer.text:
            raise RefusedError(f"vLLM at {self.url} does not load {name} from {path}: {_said(answer)}")

    def unload(self, name: str) -> None:
        """Have an adapter forgotten; one that it does not have is none. Raises as `load`."""
        answer = self._post("/v1/unload_lora_adapter", {"lora_name": name})
        if answer.status_code not in (200, 404):
            raise RefusedError(f"vLLM at {self.url} does not unload {name}: {_said(answer)}")

    def probe(self, name: str, prompt: Sequence[int]) -> None:
        """Have an adapter say two tokens. Raises as `load`."""
        body = {**GREEDY, "model": name, "prompt": list(prompt), "max_tokens": 2}
        answer = self._post("/v1/completions", body)
        if answer.status_code != 200:
            raise RefusedError(f"vLLM at {self.url} does not answer with {name}: {_said(answer)}")

    async def answer(
        self, name: str, prompt: Sequence[int], max_tokens: int, stops: Sequence[str], end: int
    ) -> AsyncGenerator[tuple[str, Finish | None], None]:
        """What an adapter's answer is so far, again and again, and at last how it ended; `end` ends a turn.

        Raises:
            MissingError: the server does not have the adapter; nothing was yielded.
            UnavailableError: the server does not answer, or breaks off.
        """
        body = {**GREEDY, "model": name, "prompt": list(prompt), "max_tokens": max_tokens, "stream": True}
        body |= {"stop": list(stops), "stop_token_ids": [end]}
        text, finish = "", None
        try:
            async with self._asking.stream("POST", "/v1/completions", json=body) as response:
                if response.status_code == 404:
                    raise MissingError(name)
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if (choice := _choice(line)) is not None:
                        text, finish = text + choice["text"], FINISHES.get(choice["finish_reason"] or "")
                        yield text, finish
        except httpx.HTTPError as error:
            raise self._away(error) from None
        if finish is None:
            raise UnavailableError(f"vLLM at {self.url} broke off an answer; try again.")

    def _models(self) -> list[dict[str, Any]]:
        try:
            answer = self._managing.get("/v1/models", timeout=httpx.Timeout(CONNECT_S)).raise_for_status()
            found: list[dict[str, Any]] = answer.json()["data"]
        except httpx.HTTPError as error:
            raise self._away(error) from None
        except (ValueError, KeyError, TypeError):
            raise UnavailableError(f"{self.url} does not list its models as vLLM does.") from None
        return found

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            answer = self._managing.post(path, json=body)
        except httpx.HTTPError as error:
            raise self._away(error) from None
        if answer.status_code in (502, 503, 504):
            raise UnavailableError(f"vLLM at {self.url} answers {answer.status_code}; try again.")
        return answer

    def _away(self, error: httpx.HTTPError) -> UnavailableError:
        what = f"answers {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else "is away"
        return UnavailableError(f"vLLM at {self.url} {what} ({type(error).__name__}); try again.")


def _choice(line: str) -> dict[str, Any] | None:
    """The choice that a server-sent event tells of.

    Raises:
        httpx.RemoteProtocolError: it tells of an error instead.
    """
    if not line.startswith("data: ") or line == "data: [DONE]":
        return None
    told = json.loads(line.removeprefix("data: "))
    if "error" in told:
        raise httpx.RemoteProtocolError("An error in the midst of an answer.")
    choice: dict[str, Any] | None = next(iter(told["choices"]), None)
    return choice


def _said(answer: httpx.Response) -> str:
    """Status and reason of a refusal."""
    try:
        told = answer.json()
        if answer.status_code == 404 and "error" not in told:  # no such route
            return "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
        return f"{answer.status_code}, {told['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}."
