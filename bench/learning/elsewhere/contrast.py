"""SetFit with its own defaults but for the count of pairs: JSON in, JSON out. Run by bench/learning/others.py.

By default SetFit learns from every pair of rows, and 150 labels with ten rows make 1.1 million: days on two cores. What
is given as `iterations` is its `num_iterations`, pairs of each kind (alike, different) for each row; 20 was its default
for long, and is what its paper used.
"""

import json
import sys
import tempfile
import time

import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

torch.set_num_threads(1)
given = json.load(sys.stdin)
texts, labels = map(list, zip(*given["rows"], strict=True))
names = sorted(set(labels))
rows = Dataset.from_dict({"text": texts, "label": [names.index(label) for label in labels]})
with tempfile.TemporaryDirectory() as folder:
    start = time.process_time()
    model = SetFitModel.from_pretrained(given["base"])
    arguments = TrainingArguments(
        folder, num_iterations=given["iterations"], report_to="none", save_strategy="no", show_progress_bar=False
    )
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    cpu_s = time.process_time() - start
found = model.predict([text for text, _ in given["test"]])
right = [names[int(index)] == label for index, (_, label) in zip(found, given["test"], strict=True)]
passes = 4 * given["iterations"] * len(texts)  # two kinds of pairs, two texts each
print(json.dumps({"cpu_s": cpu_s, "accuracy": sum(right) / len(right), "passes": passes}))
