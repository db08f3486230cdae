"""What LengthDrop and LayerDrop draw."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from compressor.training import sub_models

lengths = st.integers(1, 512)
drops = st.floats(0, 1)


@given(lengths, st.integers(1, 12), drops, st.integers(1, 4), st.integers(0, 99))
def test_drawn_lengths_stay_within_their_bounds(length: int, layers: int, drop: float, minimum: int, seed: int) -> None:
    random = Random(seed)
    skipped = sub_models.draw_skipped(layers, 0.3, random)
    drawn = sub_models.draw(length, [drop] * layers, minimum, random, skipped)
    floor = sub_models.smallest(length, [drop] * layers, minimum)
    assert len(drawn.counts) == layers
    assert drawn.skipped == skipped
    before = length
    for layer, count in enumerate(drawn.counts):
        assert min(before, minimum) <= count <= before
        assert count >= floor.counts[layer]
        if layer in skipped:
            assert count == before
        else:
            assert count >= math.floor((1 - drop) * before)
        before = count


def test_the_smallest_is_the_official_one() -> None:
    assert sub_models.smallest(384, [0.2] * 6, 2).counts == (308, 247, 198, 159, 128, 103)
    assert sub_models.smallest(3, [0.5] * 4, 2).counts == (2, 2, 2, 2)
    assert sub_models.smallest(1, [0.5] * 2, 2).counts == (1, 1)


def test_every_layer_may_have_a_probability_of_its_own() -> None:
    assert sub_models.smallest(100, [0.0, 0.1, 0.5], 2).counts == (100, 90, 45)
    drawn = [sub_models.draw(100, [0.0, 0.1, 0.5], 2, Random(seed)).counts for seed in range(50)]
    assert {counts[0] for counts in drawn} == {100}
    assert min(counts[1] for counts in drawn) >= 90
    assert min(counts[2] for counts in drawn) < 60


def test_rounding_errors_do_not_keep_one_token_more() -> None:
    assert sub_models.smallest_kept(10, 0.2, 1) == 8  # 0.8 * 10 in floating point must not become 9
    for tokens in range(1, 513):
        assert sub_models.smallest_kept(tokens, 0.2, 1) == (4 * tokens + 4) // 5


def test_the_full_model_keeps_everything() -> None:
    assert sub_models.full(7, 3) == sub_models.SubModel((7, 7, 7), frozenset())


def test_every_length_can_be_drawn() -> None:
    random = Random(0)
    assert {sub_models.draw(10, [0.5], 2, random).counts[0] for _ in range(300)} == {5, 6, 7, 8, 9, 10}


def test_layers_are_skipped_as_often_as_asked_but_never_all() -> None:
    random = Random(0)
    drawn = [sub_models.draw_skipped(6, 0.2, random) for _ in range(3000)]
    assert abs(sum(len(skipped) for skipped in drawn) / 18000 - 0.2) < 0.02
    assert all(len(sub_models.draw_skipped(3, 1.0, random)) == 2 for _ in range(20))
    assert sub_models.draw_skipped(6, 0.0, random) == frozenset()
