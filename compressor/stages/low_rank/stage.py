"""The stage `low_rank`: linear layers of the encoder as products of two smaller ones, by singular values.

Plain (Noach and Goldberg 2020); weighted by squared gradients (FWSVD, Hsu et al. 2022); or weighted by the covariance
of each layer's inputs, so that the error of its outputs is the least possible (data-aware, as ASVD, Yuan et al. 2023).
In the last case the bias takes up the mean of the error. Nothing is trained: put `distill` or `finetune` behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.factors import Decomposition, Weighting, by_covariance, by_importance, decompose, rank_of_energy
from compressor.models.kinds.low_rank import LowRankLinear, dense, put_factors, replace_module
from compressor.models.structure import LowRank, Structure
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.low_rank.moments import input_moments, squared_gradients
from compressor.stages.low_rank.ranks import spread_budget
from compressor.stages.low_rank.settings import LowRankSettings
from compressor.stages.low_rank.shape import budget_left, chosen_matrices, fixed_ranks, shape, with_ranks

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
    structure = Structure.from_config(with_ranks(config, matrices, ranks))
    for name, (weight, bias) in before.items():
        _put(model, name, cast(LowRank, structure.low_rank).ranks.get(name), parts[name], weight, bias, means.get(name))
    cast(Any, model).low_rank = structure.low_rank
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


@torch.no_grad()
def _put(
    model: nn.Module,
    name: str,
    rank: int | None,
    parts: Decomposition,
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor | None,
) -> None:
    """Replace a linear layer by its factors, or by the whole where there is no rank; `mean` [in] is of its inputs."""
    if rank is None:
        whole = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        whole.weight.copy_(weight)
        if bias is not None:
            whole.bias.copy_(bias)
        replace_module(model, name, whole)
        return
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
