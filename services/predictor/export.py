"""Write a version as other programs load it: python -m services.predictor.export ORDER.

What `learnback export` runs, since it loads the base and the command does not. `peft` is the adapter with the whole
configuration that peft reads; `merged` is the base with the adapter merged into its weights, and its tokenizer. Both
carry the manifest, and a classifier's head and labels.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from pydantic import BaseModel
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from schemas.events import Task
from shared.artifacts import MANIFEST, ArtifactStore
from shared.errors import LearnbackError
from shared.lm.bases import locate
from shared.lm.lora import WEIGHTS, configuration, finite

HEAD = ("head.safetensors", "labels.json")
ARCHITECTURE: dict[Task, Any] = {"classification": AutoModel, "generation": AutoModelForCausalLM}
TASK_TYPE: dict[Task, str] = {"classification": "FEATURE_EXTRACTION", "generation": "CAUSAL_LM"}  # as peft names it


class Order(BaseModel):
    """What is to be written, and where."""

    shape: str
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
        adapter = _adapter(order, files, staged if order.shape == "peft" else Path(name) / "adapter")
        if order.shape == "merged":
            _merged(order, adapter, staged)
        for kept in (*HEAD, MANIFEST):
            if (files / kept).exists():
                shutil.copyfile(files / kept, staged / kept)
        (staged / "README.md").write_text(_readme(order), "utf-8")
        staged.rename(order.folder)


def _adapter(order: Order, files: Path, folder: Path) -> Path:
    """The adapter with all that peft wants to know of it."""
    folder.mkdir(exist_ok=True)
    finite(files / WEIGHTS)
    fields = configuration(files)
    config = LoraConfig(
        r=fields["r"],
        lora_alpha=fields["lora_alpha"],
        target_modules=fields["target_modules"],
        base_model_name_or_path=order.base,
        task_type=TASK_TYPE[order.task],
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    shutil.copyfile(files / WEIGHTS, folder / WEIGHTS)
    return folder


def _merged(order: Order, adapter: Path, folder: Path) -> None:
    path = locate(order.base)
    base = ARCHITECTURE[order.task].from_pretrained(path, dtype="float32")
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(path).save_pretrained(folder)


def _readme(order: Order) -> str:
    """How the folder is loaded and asked."""
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


def main() -> None:
    """Carry out the order; what is wrong is one line on stderr."""
    try:
        write(Order.model_validate_json(sys.argv[1]))
    except LearnbackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
