"""A server that speaks vLLM's interface for LoRA adapters, on real weights: transformers and peft answer.

What it takes and refuses, and in which words, is what vLLM 0.32 did when it was asked the same (docs/log.md).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from peft import PeftModel
from safetensors import safe_open
from starlette.responses import Response
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.lm.bases import locate
from tests.conftest import free_port

MAPS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


class Weights:
    """A base and the adapters on it, one of which computes at a time."""

    def __init__(self, base: str) -> None:
        path = locate(base)
        self._base: Any = AutoModelForCausalLM.from_pretrained(path, dtype="float32")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path)
        self._model: Any = None
        self._lock = threading.Lock()

    def load(self, name: str, path: str) -> None:
        with self._lock:
            if self._model is None:
                self._model = PeftModel.from_pretrained(self._base, path, adapter_name=name)
            elif name not in self._model.peft_config:
                self._model.load_adapter(path, adapter_name=name)

    def say(self, name: str, prompt: list[int], max_tokens: int, ends: list[int]) -> list[int]:
        with self._lock, torch.inference_mode():
            self._model.set_adapter(name)
            ids = torch.tensor([prompt])
            said = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=max_tokens,
                eos_token_id=ends,
                pad_token_id=ends[0],
            )
        found: list[int] = said[0, len(prompt) :].tolist()
        return found


class Vllm:
    """A server on a port of its own, which can be started again: then it has lost its adapters."""

    def __init__(self, weights: Weights, max_rank: int = 16, max_model_len: int = 1024, updating: bool = True) -> None:
        self.weights, self.max_rank, self.max_model_len, self.updating = weights, max_rank, max_model_len, updating
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.adapters: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.pace_s = 0.0  # from one token of an answer to the next
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.adapters = {}
        config = uvicorn.Config(self._app(), port=self.port, log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "The server does not start."
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(20)

    def _app(self) -> FastAPI:
        app = FastAPI()
        app.get("/v1/models")(self._models)
        app.post("/v1/completions")(self._complete)
        if self.updating:
            app.post("/v1/load_lora_adapter")(self._load)
            app.post("/v1/unload_lora_adapter")(self._unload)
        return app

    async def _models(self) -> dict[str, Any]:
        base = {"id": "base", "parent": None, "root": "/base", "max_model_len": self.max_model_len}
        found = [{"id": name, "parent": "base", "root": path} for name, path in self.adapters.items()]
        return {"object": "list", "data": [base, *found]}

    async def _load(self, request: Request) -> Response:
        told = await request.json()
        name, path = told["lora_name"], told["lora_path"]
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded. If you want to load the adapter …")
        if not (Path(path) / "adapter_config.json").exists():
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}")
        if (refused := self._unfit(Path(path))) is not None:
            return _error(500, refused)
        await asyncio.to_thread(self.weights.load, name, path)
        self.adapters[name] = path
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def _unfit(self, folder: Path) -> str | None:
        config = json.loads((folder / "adapter_config.json").read_text())
        if config["r"] > self.max_rank:
            return f"LoRA rank {config['r']} is greater than max_lora_rank {self.max_rank}."
        if config.get("modules_to_save") or config.get("use_dora") or config.get("bias", "none") != "none":
            return "modules_to_save, DoRA or bias is not supported."
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            odd = [name for name in file.keys() if name.split(".lora_")[0].rsplit(".", 1)[-1] not in MAPS]  # noqa: SIM118
        return f"expected target modules in {sorted(MAPS)} but received {odd}." if odd else None

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if name not in self.adapters:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _complete(self, request: Request) -> Response:
        told = await request.json()
        if told["model"] not in self.adapters:
            return _error(404, f"The model `{told['model']}` does not exist.")
        if len(told["prompt"]) + told["max_tokens"] > self.max_model_len:
            return _error(400, f"This model's maximum context length is {self.max_model_len} tokens.")
        assert told["temperature"] == 0, "it samples nothing"
        self.asked[told["model"]] += 1
        tokens = self.weights.tokenizer
        ends = [*told.get("stop_token_ids", []), tokens.eos_token_id]
        said = await asyncio.to_thread(self.weights.say, told["model"], told["prompt"], told["max_tokens"], ends)
        texts = [tokens.decode(said[: place + 1], skip_special_tokens=True) for place in range(len(said))]
        finish = "stop" if said[-1] in ends else "length"
        if cuts := [texts[-1].find(stop) for stop in told.get("stop", []) if stop in texts[-1]]:
            texts, finish = [text[: min(cuts)] for text in texts], "stop"
        if not told.get("stream"):
            return JSONResponse({"choices": [{"index": 0, "text": texts[-1], "finish_reason": finish}]})
        return StreamingResponse(self._stream(texts, finish), media_type="text/event-stream")

    async def _stream(self, texts: list[str], finish: str) -> AsyncGenerator[str, None]:
        for before, text in zip(["", *texts], texts, strict=False):
            yield _chunk(text[len(before) :], None)
            await asyncio.sleep(self.pace_s)
        yield _chunk("", finish)
        yield "data: [DONE]\n\n"


def _chunk(text: str, finish: str | None) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'text': text, 'finish_reason': finish}]})}\n\n"


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "Error", "param": None, "code": status}}, status)
