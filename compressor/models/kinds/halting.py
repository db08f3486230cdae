"""When an input has seen enough blocks: answers that accumulate on the way, and bounds on what is still to come.

DACT-BERT (Eyzaguirre et al. 2022), DeeBERT (Xin et al. 2020) and PABEE (Zhou et al. 2020), each as functions of the
answers of one block after the other. The exported graph is traced from these very functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.models.structure import Bound


def accumulate(answer: Tensor, so_far: Tensor, weight: Tensor) -> Tensor:
    """DACT's a_n = y_n · p_{n-1} + a_{n-1} · (1 - p_{n-1}).

    Args:
        answer: Probabilities y_n of this block's head, [batch, classes].
        so_far: a_{n-1}, the same shape.
        weight: p_{n-1}, [batch, 1]: the product of the halting units so far; ones before the first block.
    """
    return so_far + (answer - so_far) * weight


def unsettled(answer: Tensor, weight: Tensor, blocks_left: int, bound: Bound) -> Tensor:
    """Whether later blocks might still change the class with the highest probability; bool [batch, 1].

    A later block mixes its answer in with a weight of at most p. After d of them at least q = (1 - p)^d of the present
    answer is left, and all the rest may have gone to the runner-up: the top class stays on top if
    (top - runner-up) · q >= 1 - q, that is (1 + top - runner-up) · q >= 1. The paper bounds each of both on its own,
    top · q >= runner-up + p · d, which stops later (1 - q <= p · d) and promises the same.

    Args:
        answer: The accumulated answer a_n, [batch, classes]; rows sum to one.
        weight: p_n, [batch, 1]; its product with 1 less a margin stops earlier, without
            the promise.
        blocks_left: d.
        bound: tight or paper.
    """
    if answer.shape[-1] < 2:
        return torch.zeros_like(weight, dtype=torch.bool)
    top = answer.topk(2, dim=-1).values
    rest = _left(weight, blocks_left)
    if bound == "paper":
        return top[:, :1] * rest < top[:, 1:] + weight * blocks_left
    lead = top @ top.new_tensor([[1.0], [-1.0]]) + top.new_ones(1)
    return lead * rest < 1


def _left(weight: Tensor, blocks_left: int) -> Tensor:
    """What is at least left of an answer after so many blocks; 0 where their weight is held to be above 1."""
    return torch.relu(1 - weight) ** blocks_left


def unsettled_labels(answer: Tensor, weight: Tensor, blocks_left: int, threshold: float) -> Tensor:
    """The same for independent labels: whether any might still cross `threshold`; bool [batch, 1].

    Each label ends between a · q and a · q + 1 - q, so it stays if the lower end reaches the threshold, or the upper
    end does not.

    Args:
        answer: Probabilities of the labels, [batch, labels].
        weight: As in `unsettled`.
        blocks_left: As in `unsettled`.
        threshold: A label is predicted from here on.
    """
    rest = _left(weight, blocks_left)
    lowest = answer * rest
    changes = (lowest < threshold) & (lowest >= threshold - 1 + rest)
    return changes.any(dim=-1, keepdim=True)


def entropy(logits: Tensor) -> Tensor:
    """DeeBERT's confidence, the entropy of the answer in nats, [batch, 1]; it exits below a threshold."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1, keepdim=True)


def label_entropy(logits: Tensor) -> Tensor:
    """The same for independent labels: the mean of their Bernoulli entropies in nats, [batch, 1]."""
    size = logits.float().abs()
    each = torch.nn.functional.softplus(-size) + size * torch.sigmoid(-size)
    return each.mean(dim=-1, keepdim=True)


def agreeing(same: Tensor, streak: Tensor) -> Tensor:
    """PABEE's counter: how many blocks in a row gave the answer of the block before, int64 [batch, 1].

    Args:
        same: Whether this block's answer is that of the block before, bool [batch, 1].
        streak: The counter before.
    """
    return torch.where(same, streak + 1, torch.zeros_like(streak))
