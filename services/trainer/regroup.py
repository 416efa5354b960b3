"""A champion whose labels were merged or retired by a reviewer, as an increment goes on from it.

A retired label's row leaves the head. Rows of labels that are one by now become one: their mean direction, √n times as
long as the n of them are on average, which is how long the sum of n unlike rows is. Of what was tried it gets the most
inputs of the merged label right, and takes the fewest from others, before any training (docs/log.md).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from shared.lm.head import Head


def regrouped(champion: Path, into: Mapping[str, str | None], folder: Path) -> Path:
    """The champion's files with another head, in `folder`."""
    shutil.copytree(champion, folder)
    regroup(Head.load(champion), into).save(folder)
    return folder


def regroup(head: Head, into: Mapping[str, str | None]) -> Head:
    """The head in which each label is what it stands for: `into` says it of those that are not themselves any more."""
    members: dict[str, list[int]] = {}
    for row, label in enumerate(head.labels):
        if (standing := into.get(label, label)) is not None:
            members.setdefault(standing, []).append(row)
    made = [_merged(head.weight[rows]) if len(rows) > 1 else head.weight[rows[0]] for rows in members.values()]
    bias = [head.bias[rows].mean() for rows in members.values()]
    return Head(tuple(members), torch.stack(made), torch.stack(bias))


def _merged(rows: Tensor) -> Tensor:
    length: Tensor = rows.norm(dim=1).mean() * len(rows) ** 0.5
    return functional.normalize(rows.mean(0), dim=-1) * length
