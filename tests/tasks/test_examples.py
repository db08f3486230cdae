"""A part of the examples that stands for all."""

import pytest

from compressor.tasks.examples import spread


@pytest.mark.parametrize(("rows", "count"), [(127, 64), (190, 64), (64, 64), (65, 64), (5, 64), (1000, 1), (0, 4)])
def test_a_part_is_spread_over_all(rows: int, count: int) -> None:
    chosen = spread(range(rows), count)
    assert len(chosen) == min(rows, count) and sorted(set(chosen)) == chosen
    gaps = [after - before for before, after in zip(chosen, [*chosen, rows][1:], strict=True)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
