"""Write a version as other programs load it: python -m services.predictor.export ORDER.

What `learnback export` runs, since it loads the base and the command does not. `peft` is the adapter with the whole
configuration that peft reads; `merged` is the base with the adapter merged into its weights, and its tokenizer; `onnx`
is a classifier as one graph, from token ids to what it believes of each label. All carry the manifest, and a
classifier's labels; the first two its head.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from peft import PeftModel
from pydantic import BaseModel
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from schemas.events import Task
from services.predictor.adapter import write_adapter
from shared.artifacts import ArtifactStore
from shared.errors import LearnbackError
from shared.lm.bases import locate
from shared.lm.encoder import MAX_TOKENS
from shared.lm.head import Head
from shared.manifest import MANIFEST

Shape = Literal["peft", "merged", "onnx"]

WITH_HEAD = ("head.safetensors", "labels.json", MANIFEST)
KEPT: dict[Shape, tuple[str, ...]] = {"peft": WITH_HEAD, "merged": WITH_HEAD, "onnx": ("labels.json", MANIFEST)}
ARCHITECTURE: dict[Task, Any] = {"classification": AutoModel, "generation": AutoModelForCausalLM}


class Order(BaseModel):
    """What is to be written, and where."""

    shape: Shape
    task: Task
    base: str
    version: str
    manifest_sha256: str
    artifacts: str
    folder: Path


def write(order: Order) -> None:
    """Write all of the folder, or nothing.

    Raises:
        ArtifactError: the version's files are missing, altered or not finite, or the base is.
        ConfigError: the base is not known.
    """
    files, _ = ArtifactStore(order.artifacts).get(f"versions/{order.version}", order.manifest_sha256)
    order.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=order.folder.parent) as name:
        staged = Path(name) / "export"
        staged.mkdir()
        adapter = staged if order.shape == "peft" else Path(name) / "adapter"
        adapter.mkdir(exist_ok=True)
        write_adapter(order.task, order.base, files, adapter)
        if order.shape == "merged":
            _merged(order, adapter).save_pretrained(staged)
        if order.shape == "onnx":
            _graph(_merged(order, adapter), Head.load(files), staged)
        if order.shape != "peft":
            AutoTokenizer.from_pretrained(locate(order.base)).save_pretrained(staged)
        for kept in KEPT[order.shape]:
            if (files / kept).exists():
                shutil.copyfile(files / kept, staged / kept)
        (staged / "README.md").write_text(_readme(order), "utf-8")
        staged.rename(order.folder)


def _merged(order: Order, adapter: Path) -> Any:
    base = ARCHITECTURE[order.task].from_pretrained(locate(order.base), dtype="float32")
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()


def _graph(encoder: Any, head: Head, folder: Path) -> None:
    from services.predictor.graph import write_graph  # what it needs is an extra of its own

    write_graph(encoder, head, folder)


def _readme(order: Order) -> str:
    """How the folder is loaded and asked."""
    if order.shape == "onnx":
        return f"# {order.version}, onnx\n\n```python\n{ASK_GRAPH}```\n"
    architecture = ARCHITECTURE[order.task].__name__
    if order.shape == "merged":
        load = f'model = {architecture}.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    else:
        load = (
            f'base = {architecture}.from_pretrained("{order.base}")\nmodel = PeftModel.from_pretrained(base, ".")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{order.base}")'
        )
    imports = f"from transformers import {architecture}, AutoTokenizer"
    imports += "\nfrom peft import PeftModel" if order.shape == "peft" else ""
    return f"# {order.version}, {order.shape}\n\n```python\n{imports}\n{load}\n{ASK[order.task]}```\n"


ASK = {
    "classification": """
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

head, labels = load_file("head.safetensors"), json.loads(Path("labels.json").read_text())
batch = tokenizer(["where is my order?"], return_tensors="pt", truncation=True, max_length=128)
hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
beliefs = (vectors @ head["weight"].T + head["bias"]).softmax(-1)
print([labels[row] for row in beliefs.argmax(-1)])
""",
    "generation": """
asked = [{"role": "user", "content": "where is my order?"}]
ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0][ids["input_ids"].shape[1]:]))
""",
}

ASK_GRAPH = f"""import json
from pathlib import Path

import numpy
import onnxruntime
from tokenizers import Tokenizer

labels, tokenizer = json.loads(Path("labels.json").read_text()), Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({MAX_TOKENS})
tokenizer.enable_padding()
batch = tokenizer.encode_batch(["where is my order?"])
asked = {{
    "input_ids": numpy.array([one.ids for one in batch]),
    "attention_mask": numpy.array([one.attention_mask for one in batch]),
}}
[beliefs] = onnxruntime.InferenceSession("model.onnx").run(None, asked)
print([labels[row] for row in beliefs.argmax(-1)])
"""


def main() -> None:
    """Carry out the order; what is wrong is one line on stderr."""
    try:
        write(Order.model_validate_json(sys.argv[1]))
    except LearnbackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
