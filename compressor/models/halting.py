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
        so_far: a_{n-1}, the same shape; zeros before the first block.
        weight: p_{n-1}, [batch]: the product of the halting units so far; ones before the first block.
    """
    share = weight.unsqueeze(-1)
    return answer * share + so_far * (1 - share)


def settled(
    answer: Tensor, weight: Tensor, blocks_left: int, margin: Tensor | float = 0.0, bound: Bound = "tight"
) -> Tensor:
    """Whether no later block can change the class with the highest probability; bool [batch].

    A later block mixes its answer in with a weight of at most p. After d of them at least q = (1 - p)^d of the present
    answer is left, and all the rest may have gone to the runner-up: the top class stays on top if
    (top - runner-up) · q >= 1 - q. The paper bounds each of both on its own, top · q >= runner-up + p · d, which stops
    later (1 - q <= p · d) and promises the same.

    Args:
        answer: The accumulated answer a_n, [batch, classes]; rows sum to one once the first block has spoken.
        weight: p_n, [batch].
        blocks_left: d.
        margin: How far the condition may be missed: 0 keeps the promise, more stops earlier without one.
        bound: tight or paper.
    """
    if answer.shape[-1] < 2:
        return torch.ones_like(weight, dtype=torch.bool)
    top = answer.topk(2, dim=-1).values
    rest = (1 - weight) ** blocks_left
    if bound == "paper":
        return top[..., 0] * rest >= top[..., 1] + weight * blocks_left - margin
    return (top[..., 0] - top[..., 1]) * rest >= 1 - rest - margin


def settled_labels(
    answer: Tensor, weight: Tensor, blocks_left: int, threshold: float = 0.5, margin: Tensor | float = 0.0
) -> Tensor:
    """The same for independent labels: whether none can cross `threshold` any more; bool [batch].

    Each label ends between a · q and a · q + 1 - q.

    Args:
        answer: Probabilities of the labels, [batch, labels].
        weight: p_n, [batch].
        blocks_left: d.
        threshold: A label is predicted from here on.
        margin: As in `settled`.
    """
    rest = ((1 - weight) ** blocks_left).unsqueeze(-1)
    stays_on = answer * rest >= threshold - margin
    stays_off = answer * rest + 1 - rest < threshold + margin
    return (stays_on | stays_off).all(dim=-1)


def entropy(logits: Tensor) -> Tensor:
    """DeeBERT's confidence, the entropy of the answer in nats, [batch]; it exits below a threshold."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)


def label_entropy(logits: Tensor) -> Tensor:
    """The same for independent labels: the mean of their Bernoulli entropies in nats, [batch]."""
    logits = logits.float()
    chance = torch.sigmoid(logits)
    each = -(chance * torch.nn.functional.logsigmoid(logits) + (1 - chance) * torch.nn.functional.logsigmoid(-logits))
    return each.mean(dim=-1)


def agreeing(same: Tensor, streak: Tensor) -> Tensor:
    """PABEE's counter: how many blocks in a row gave the answer of the block before, int64 [batch].

    Args:
        same: Whether this block's answer is that of the block before, bool [batch].
        streak: The counter before.
    """
    return torch.where(same, streak + 1, torch.zeros_like(streak))
