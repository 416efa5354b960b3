"""A version's adapter as other programs read it: its weights, and the whole configuration that peft keeps of one."""

from __future__ import annotations

import shutil
from pathlib import Path

from peft import LoraConfig

from schemas.events import Task
from shared.lm.lora import WEIGHTS, configuration, finite

TASK_TYPE: dict[Task, str] = {"classification": "FEATURE_EXTRACTION", "generation": "CAUSAL_LM"}  # as peft names it


def write_adapter(task: Task, base: str, files: Path, folder: Path) -> None:
    """Write the adapter among a version's files into a folder that is there.

    Raises:
        ArtifactError: the files are not a LoRA adapter of Learnback, or hold a value that is not finite.
    """
    finite(files / WEIGHTS)
    fields = configuration(files)
    config = LoraConfig(
        r=fields["r"],
        lora_alpha=fields["lora_alpha"],
        target_modules=fields["target_modules"],
        base_model_name_or_path=base,
        task_type=TASK_TYPE[task],
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    shutil.copyfile(files / WEIGHTS, folder / WEIGHTS)
