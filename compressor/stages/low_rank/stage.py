"""The stage `low_rank`: linear layers of the encoder as products of two smaller ones, by singular values.

Plain (Noach and Goldberg 2020); weighted by squared gradients (FWSVD, Hsu et al. 2022); or whitened by the covariance
of each layer's inputs, so that the error of its outputs is the least possible (DRONE, Chen et al. 2021; SVD-LLM, Wang
et al. 2024). In the last case the bias takes up the mean of the error. Nothing is trained: put `distill` or `finetune`
behind it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.factors import Decomposition, Weighting, by_covariance, by_importance, decompose, rank_of_energy
from compressor.models.kinds.low_rank import LowRankLinear, dense, put_factors, replace_module
from compressor.models.structure import Structure
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.low_rank.moments import input_moments, squared_gradients
from compressor.stages.low_rank.ranks import spread_budget
from compressor.stages.low_rank.settings import LowRankSettings
from compressor.stages.low_rank.shape import (
    becomes_smaller,
    budget_left,
    chosen_matrices,
    fixed_ranks,
    shape,
    with_ranks,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run(source: Checkpoint, settings: LowRankSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with the chosen matrices decomposed.

    Raises:
        RequestError: Ranks that the model cannot have, or no calibration examples where they are needed.
        CheckpointError: The checkpoint cannot be loaded for the task.
    """
    config = checkpoints.read_config(source.path)
    shape(config, {}, settings)
    matrices = chosen_matrices(config, settings)
    model: nn.Module = checkpoints.load(source.path, context.task)
    tokenizer = checkpoints.load_tokenizer(source.path)
    weightings, means = _weightings(model, list(matrices), settings, tokenizer, context)
    before = {name: dense(cast(nn.Linear, model.get_submodule(name))) for name in matrices}
    with torch.no_grad():
        parts = {name: decompose(weight, weightings.get(name)) for name, (weight, _) in before.items()}
    if settings.energy is not None:
        ranks = {name: rank_of_energy(part.values, settings.energy) for name, part in parts.items()}
    elif settings.budget is not None:
        energies = {name: part.values.square().tolist() for name, part in parts.items()}
        ranks = spread_budget(matrices, energies, budget_left(config, settings.budget, matrices))
    else:
        ranks = fixed_ranks(matrices, settings)
    cast(Any, model).low_rank = Structure.from_config(with_ranks(config, matrices, ranks)).low_rank
    gaining = [name for name, rank in ranks.items() if becomes_smaller(matrices[name], rank)]
    for name in gaining:
        _put(model, name, ranks[name], parts[name], *before[name], means.get(name))
    _tell_unchanged(matrices.keys() - gaining, len(matrices), context)
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


def _tell_unchanged(names: Collection[str], total: int, context: StageContext) -> None:
    """Name the matrices that factors would not make smaller."""
    if names:
        counts = Counter(re.sub(r"\.\d+\.", ".*.", name) for name in sorted(names))
        listed = ", ".join(f"{pattern} ({count})" for pattern, count in counts.items())
        context.progress.line(
            f"low_rank: {len(names)} of {total} matrices stay as they are, as factors would be no smaller: {listed}"
        )


@torch.no_grad()
def _put(
    model: nn.Module,
    name: str,
    rank: int,
    parts: Decomposition,
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor | None,
) -> None:
    """Replace a linear layer by its factors; `mean` [in] is of its inputs."""
    first, second = parts.factors(rank)
    if bias is not None and mean is not None:
        bias = bias + ((weight - second @ first).double() @ mean).float()
    replace_module(model, name, LowRankLinear(weight.shape[1], weight.shape[0], rank, bias=bias is not None))
    put_factors(model, name, first, second, bias)


def _weightings(
    model: nn.Module,
    names: Sequence[str],
    settings: LowRankSettings,
    tokenizer: PreTrainedTokenizerBase,
    context: StageContext,
) -> tuple[dict[str, Weighting], dict[str, Tensor]]:
    """What an error counts in every layer, and the mean of its inputs [in] where that is known."""
    if settings.weighting == "none":
        return {}, {}
    examples = list(context.data.calibration)[: settings.samples]
    if not examples:
        raise RequestError(
            f"low_rank: weighting: {settings.weighting} needs calibration examples: give data.calibration, or take "
            "weighting: none."
        )
    features = context.task.features(examples, tokenizer, labelled=True)
    if settings.weighting == "fisher":
        importance = squared_gradients(model, names, features, tokenizer, context)
        return {name: by_importance(values) for name, values in importance.items()}, {}
    moments = input_moments(model, names, features, tokenizer, context)
    weightings = {name: by_covariance(seen.covariance) for name, seen in moments.items()}
    return weightings, {name: seen.mean for name, seen in moments.items()}
