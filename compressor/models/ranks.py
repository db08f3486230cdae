"""How wide the middle of two factors may be. Imports nothing heavy."""

from __future__ import annotations


def largest_rank(rows: int, columns: int) -> int:
    """The largest rank at which the factors of a matrix are smaller than the matrix; 0: at none."""
    return (rows * columns - 1) // (rows + columns)


def rank_of_ratio(ratio: float, rows: int, columns: int) -> int:
    """The largest rank at which the factors have at most a fraction of the matrix's parameters; 0: at none."""
    return int(ratio * rows * columns / (rows + columns))
