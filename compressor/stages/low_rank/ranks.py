"""Which rank each matrix gets. Pure, and light enough for `plan`."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from compressor.errors import RequestError
from compressor.models.matrices import Matrix
from compressor.models.ranks import largest_rank


def most_useful_rank(matrix: Matrix) -> int:
    """The largest rank at which factors are smaller than what is there: the matrix, or a product already."""
    largest = largest_rank(matrix.rows, matrix.columns)
    return largest if matrix.rank is None else min(largest, matrix.rank - 1)


def spread_budget(
    matrices: Mapping[str, Matrix], energies: Mapping[str, Sequence[float]], budget: int
) -> dict[str, int]:
    """Ranks that spend `budget` parameters on what gains most; a matrix that is left out stays as it is.

    Every matrix starts at rank 1. Then, again and again, the matrix that gains the largest share of its own energy for
    a parameter gets one rank more, as long as the budget lasts. One whose factors would be no smaller any more stays
    what it is instead: whole, or the product that it is already.

    Args:
        matrices: By name.
        energies: Squared singular values of each, the largest first.
        budget: Parameters of all of them together, without biases.

    Raises:
        RequestError: The budget is below rank 1 everywhere.
    """
    sizes = {name: matrix.rows + matrix.columns for name, matrix in matrices.items()}
    if sum(sizes.values()) > budget:
        raise RequestError(
            f"low_rank: the budget leaves {budget} parameters for {len(matrices)} matrices, which need "
            f"{sum(sizes.values())} at rank 1: give a larger one, or take fewer `modules`."
        )
    left = budget - sum(sizes.values())
    ranks = dict.fromkeys(matrices, 1)
    queue = [(-_gain(energies[name], 1, sizes[name]), name) for name in matrices]
    heapq.heapify(queue)
    unchanged: set[str] = set()
    while queue:
        _, name = heapq.heappop(queue)
        matrix, rank = matrices[name], ranks[name]
        last = rank >= most_useful_rank(matrix)
        cost = matrix.size - rank * sizes[name] if last else sizes[name]
        if cost > left:
            continue
        left -= cost
        if last:
            unchanged.add(name)
        else:
            ranks[name] = rank + 1
            heapq.heappush(queue, (-_gain(energies[name], rank + 1, sizes[name]), name))
    return {name: rank for name, rank in ranks.items() if name not in unchanged}


def _gain(energies: Sequence[float], rank: int, cost: int) -> float:
    """What the next singular value adds, as a share of all, for a parameter."""
    total = sum(energies)
    return energies[rank] / total / cost if rank < len(energies) and total > 0 else 0.0
