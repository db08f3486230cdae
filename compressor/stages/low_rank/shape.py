"""What `low_rank` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.config.run import TaskName
from compressor.errors import RequestError
from compressor.models.macs import parameter_count
from compressor.models.matrices import Matrix, encoder_matrices, matching
from compressor.models.ranks import largest_rank, rank_of_ratio
from compressor.models.structure import LowRank, Structure, with_structure
from compressor.stages.low_rank.ranks import spread_budget
from compressor.stages.low_rank.settings import LowRankSettings

_HEADS: dict[str, TaskName] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
}
"""Endings of transformers' class names, whose heads have more parameters than one for spans."""


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: LowRankSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Ranks by `energy` depend on the weights: here they are the largest possible ones. So does how a `budget` is spread:
    here as if all singular values were alike.

    Raises:
        RequestError: A rule that fits none of the matrices, or a rank that is larger than one of them.
    """
    matrices = chosen_matrices(config, settings)
    if settings.weighting != "none" and Structure.from_config(config).adaptive_depth is not None:
        raise RequestError(
            f"low_rank: weighting: {settings.weighting} must see every layer run, and a model with exits stops before: "
            "put low_rank in front of adaptive_depth, or take weighting: none."
        )
    if settings.energy is not None:
        ranks = {name: largest_rank(matrix.rows, matrix.columns) for name, matrix in matrices.items()}
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
        RequestError: The rank is larger than one of the matrices.
    """
    if settings.rank is None:
        ratio = settings.ratio or 1.0
        return {name: rank_of_ratio(ratio, matrix.rows, matrix.columns) for name, matrix in matrices.items()}
    for name, matrix in matrices.items():
        if settings.rank > min(matrix.rows, matrix.columns):
            raise RequestError(
                f"low_rank: rank {settings.rank} is larger than '{name}', which is {matrix.rows} x {matrix.columns}."
            )
    return dict.fromkeys(matrices, settings.rank)


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
    """The `config.json` with these ranks for the chosen matrices; one whose factors are not smaller is whole.

    Raises:
        RequestError: Then none is left.
    """
    structure = Structure.from_config(config)
    known = structure.low_rank.ranks if structure.low_rank else {}
    smaller = {
        name: rank
        for name, rank in ranks.items()
        if 0 < rank <= largest_rank(matrices[name].rows, matrices[name].columns)
    }
    merged = {**{name: rank for name, rank in known.items() if name not in matrices}, **smaller}
    if not smaller:
        raise RequestError(
            "low_rank: at these ranks no product of two matrices is smaller than the matrix: ask for less."
        )
    after = dataclasses.replace(structure, low_rank=LowRank(ranks=merged))
    return with_structure(config, after)
