"""Ranges by the smallest squared error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compressor.graph.passes.quantize.calibration import collect_ranges
from compressor.graph.passes.quantize.quantize import run
from compressor.graph.passes.quantize.smallest_error import smallest_error_range, squared_error
from tests.graph.passes.test_quantize import Make, largest_error, settings


def lost(values: np.ndarray, low: float, high: float, steps: int) -> float:
    """Value by value, as a quantizer does it."""
    step = (high - low) / steps
    zero = round(-low / step)
    total = 0.0
    for value in values:
        code = min(max(round(float(value) / step) + zero, 0), steps)
        total += (float(value) - (code - zero) * step) ** 2
    return total


@hypothesis_settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), low=st.floats(-4, -0.1), high=st.floats(0.1, 4), steps=st.sampled_from([254, 255]))
def test_the_error_is_that_of_a_quantizer(seed: int, low: float, high: float, steps: int) -> None:
    values = np.random.default_rng(seed).normal(size=50)
    assert squared_error(np.ones(50), values, low, high, steps) == pytest.approx(lost(values, low, high, steps))


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_few_loud_values_are_given_up(symmetric: bool) -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=1_000_000), [60.0]])
    counts, edges = np.histogram(values, bins=2048, range=(-60, 60))
    low, high = smallest_error_range(counts, edges, float(values.min()), 60.0, symmetric=symmetric)
    assert high < 40
    steps = 254 if symmetric else 255
    widest = (-60.0, 60.0) if symmetric else (float(values.min()), 60.0)
    centers = (edges[1:] + edges[:-1]) / 2
    assert squared_error(counts, centers, low, high, steps) < squared_error(counts, centers, *widest, steps)
    assert not symmetric or low == -high


def test_values_of_one_sign_keep_zero() -> None:
    values = np.random.default_rng(0).uniform(0.5, 2, 1000)
    counts, edges = np.histogram(values, bins=2048, range=(-2, 2))
    low, high = smallest_error_range(counts, edges, 0.5, 2.0, symmetric=False)
    assert low == 0.0
    assert high == pytest.approx(2.0, rel=0.06)


def test_static_int8_by_the_smallest_error(stock_graph, make_context: Make, tmp_path) -> None:
    results = {}
    for calibration in ("mse", "minmax"):
        asked = settings(mode="static", calibration=calibration, smooth="off")
        results[calibration] = run(stock_graph, tmp_path / f"{calibration}.onnx", asked, make_context())
        assert results[calibration].notes["calibration"] == calibration
        assert largest_error(stock_graph, results[calibration].path) < 0.1
    assert results["mse"].path.read_bytes() != results["minmax"].path.read_bytes()


@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_lie_within_what_was_seen(symmetric: bool, stock_graph, make_context: Make, tmp_path) -> None:
    import onnx

    from compressor.graph.passes.nodes import name_nodes, products
    from compressor.graph.passes.quantize.calibration import calibration_feeds

    model, context = onnx.load(stock_graph), make_context()
    name_nodes(model)
    names = list(dict.fromkeys(product.node.input[0] for product in products(model)))
    found = {}
    for calibration in ("mse", "minmax"):
        asked = settings(mode="static", calibration=calibration)
        feeds = calibration_feeds(model, asked, context)
        found[calibration] = collect_ranges(
            model, names, feeds, asked, symmetric=symmetric, context=context, folder=tmp_path
        )
    for name in names:
        low, high = found["mse"][name].range_value
        lowest, highest = found["minmax"][name].range_value
        widest = max(-lowest, highest)
        assert (-widest if symmetric else min(lowest, 0)) - 1e-6 <= low <= 0 <= high <= widest + 1e-6
        assert not symmetric or low == -high
