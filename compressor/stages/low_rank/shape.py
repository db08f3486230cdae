"""What `low_rank` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.config.run import TaskName
from compressor.errors import RequestError
from compressor.models.macs import parameter_count
from compressor.models.matrices import Matrix, encoder_matrices, matching
from compressor.models.ranks import rank_of_ratio
from compressor.models.structure import LowRank, Structure, with_structure
from compressor.stages.low_rank.ranks import most_useful_rank, spread_budget
from compressor.stages.low_rank.settings import LowRankSettings

_HEADS: dict[str, TaskName] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
}
"""Endings of transformers' class names, whose heads have more parameters than one for spans."""


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: LowRankSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Ranks by `energy` depend on the weights: here they are the largest that save something. So does how a `budget` is
    spread: here as if all singular values were alike.

    Raises:
        RequestError: A rule from which no matrix gains, or a rank that one of them is too small for or has already.
    """
    matrices = chosen_matrices(config, settings)
    if settings.weighting != "none" and Structure.from_config(config).adaptive_depth is not None:
        raise RequestError(
            f"low_rank: weighting: {settings.weighting} must see every layer run, and a model with exits stops before: "
            "put low_rank in front of adaptive_depth, or take weighting: none."
        )
    if settings.energy is not None:
        ranks = {name: most_useful_rank(matrix) for name, matrix in matrices.items()}
    elif settings.budget is not None:
        alike = {name: [1.0] * min(matrix.rows, matrix.columns) for name, matrix in matrices.items()}
        ranks = spread_budget(matrices, alike, budget_left(config, settings.budget, matrices))
    else:
        ranks = fixed_ranks(matrices, settings)
    return with_ranks(config, matrices, ranks)


def chosen_matrices(config: Mapping[str, Any], settings: LowRankSettings) -> dict[str, Matrix]:
    """The matrices that the stage works on, by name; raises `RequestError` for a pattern that fits none."""
    matrices = encoder_matrices(config)
    names = matching(list(matrices), settings.modules, where="low_rank: modules")
    return {name: matrices[name] for name in names}


def fixed_ranks(matrices: Mapping[str, Matrix], settings: LowRankSettings) -> dict[str, int]:
    """Ranks by `rank` or `ratio`.

    Raises:
        RequestError: A rank that is larger than one of the matrices, or not below the one that it has already.
    """
    ratio = settings.ratio or 1.0
    ranks = {
        name: settings.rank or rank_of_ratio(ratio, matrix.rows, matrix.columns) for name, matrix in matrices.items()
    }
    for name, matrix in matrices.items():
        if ranks[name] < 1:
            raise RequestError(
                f"low_rank: ratio {ratio:g} leaves nothing of '{name}', {matrix.rows} x {matrix.columns}: give more."
            )
        if ranks[name] > min(matrix.rows, matrix.columns):
            raise RequestError(
                f"low_rank: rank {ranks[name]} is larger than '{name}', which is {matrix.rows} x {matrix.columns}."
            )
        if matrix.rank is not None and ranks[name] >= matrix.rank:
            raise RequestError(
                f"low_rank: '{name}' is a product of rank {matrix.rank} already, and rank {ranks[name]} is no less: "
                "ask for less, or name the matrices that are whole by `modules`."
            )
    return ranks


def budget_left(config: Mapping[str, Any], budget: int, matrices: Mapping[str, Matrix]) -> int:
    """What a budget for the whole model leaves for the chosen matrices.

    Raises:
        RequestError: The rest of the model needs all of it.
    """
    made_for = [str(name) for name in config.get("architectures") or ()]
    heads = [task for ending, task in _HEADS.items() if any(name.endswith(ending) for name in made_for)]
    now = parameter_count(config, heads[0] if heads else "question-answering")
    rest = now - sum(matrix.size for matrix in matrices.values())
    if budget <= rest:
        raise RequestError(
            f"low_rank: a budget of {budget} parameters is not possible: embeddings, head and what else is not "
            f"decomposed have {rest}, the whole model {now}."
        )
    return budget - rest


def with_ranks(config: dict[str, Any], matrices: Mapping[str, Matrix], ranks: Mapping[str, int]) -> dict[str, Any]:
    """The `config.json` with these ranks for those of the chosen matrices that become smaller by them.

    Raises:
        RequestError: Then there is none.
    """
    structure = Structure.from_config(config)
    known = structure.low_rank.ranks if structure.low_rank else {}
    smaller = {name: rank for name, rank in ranks.items() if becomes_smaller(matrices[name], rank)}
    if not smaller:
        raise RequestError(
            "low_rank: at these ranks no product of two matrices is smaller than what is there: ask for less."
        )
    return with_structure(config, dataclasses.replace(structure, low_rank=LowRank(ranks={**known, **smaller})))


def becomes_smaller(matrix: Matrix, rank: int) -> bool:
    """Whether factors of this rank have fewer parameters than what is there."""
    return 0 < dataclasses.replace(matrix, rank=rank).size < matrix.size
