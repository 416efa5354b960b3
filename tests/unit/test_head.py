"""A head that is fitted at once: it learns what rows say, and stays where they say nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from shared.lm.head import SCALE, Head

LABELS = ("a", "b", "c")


def head() -> Head:
    """One that takes each axis for a label of its own."""
    return Head(LABELS, SCALE * torch.eye(3), torch.zeros(3))


def unit(*rows: list[float]) -> Tensor:
    return functional.normalize(torch.tensor(rows), dim=-1)


def test_rows_that_it_had_wrong_are_right_afterwards() -> None:
    vectors = unit([1, 0.8, 0], [1, 0.9, 0], [1, 0, 0], [1, 0.1, 0])
    targets = torch.tensor([1, 1, 0, 0])
    assert head().logits(vectors).argmax(-1).tolist() == [0, 0, 0, 0]
    fitted = head().fitted(vectors, targets, torch.ones(4))
    assert fitted.logits(vectors).argmax(-1).tolist() == targets.tolist()
    assert fitted.labels == LABELS


def test_what_it_knows_for_sure_moves_it_little() -> None:
    fitted = head().fitted(torch.eye(3), torch.arange(3), torch.ones(3))
    assert torch.allclose(fitted.weight, head().weight, atol=1e-3)


def test_a_row_without_weight_says_nothing() -> None:
    vectors, targets = unit([1, 0, 0], [1, 0, 0.1], [0, 1, 0]), torch.tensor([2, 0, 1])
    fitted = head().fitted(vectors, targets, torch.tensor([0.0, 1.0, 1.0]))
    without = head().fitted(vectors[1:], targets[1:], torch.ones(2))
    assert torch.allclose(fitted.weight, without.weight, atol=1e-4)


def test_the_same_rows_give_the_same_head() -> None:
    torch.manual_seed(0)
    vectors, targets = functional.normalize(torch.randn(40, 3), dim=-1), torch.randint(3, (40,))
    first, again = (head().fitted(vectors, targets, torch.ones(40)) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
