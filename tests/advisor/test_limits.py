"""Limits: what misses them, what is closest, which one would have to move, and what a predicted price can tell."""

from __future__ import annotations

import pytest

from compressor.advisor.limits import Limit, Move, closest, limits_of, missed
from compressor.advisor.prices import Price, beyond, borderline, ruled_out_by
from compressor.config.run import GateSettings

LIMITS = [Limit("min_metric", 80.0), Limit("max_latency_ms", 10.0), Limit("max_size_mb", 20.0)]


def values(metric: float | None, latency: float, size: float) -> dict[str, float | None]:
    return {"min_metric": metric, "max_latency_ms": latency, "max_size_mb": size}


def price(p50: float, how: str = "predicted", size: float = 5.0) -> Price:
    return Price(p50, 60.0, size, how)  # type: ignore[arg-type]


def test_limits_are_the_gates_that_are_set() -> None:
    gates = GateSettings(min_metric=80.0, max_memory_mb=100.0)

    assert [limit.name for limit in limits_of(gates)] == ["min_metric", "max_memory_mb"]


def test_what_is_not_known_misses_nothing() -> None:
    assert [limit.name for limit in missed(values(79.0, 10.0, 30.0), LIMITS)] == ["min_metric", "max_size_mb"]
    assert missed(values(None, 10.0, 20.0), LIMITS) == []


def test_the_closest_is_the_one_whose_worst_miss_is_the_smallest() -> None:
    found = closest({"far": values(85.0, 20.0, 5.0), "near": values(78.0, 10.5, 5.0)}, LIMITS)

    assert found is not None and found.candidate == "near"
    assert [(move.limit, move.to) for move in found.moves] == [("min_metric", 78.0), ("max_latency_ms", 10.5)]
    assert [(move.limit, move.to, move.candidate) for move in found.alone] == [("max_latency_ms", 20.0, "far")]
    assert found.said() == (
        "the closest is near, for which min_metric from 80 to 78 and max_latency_ms from 10 to 10.5 must move; "
        "alone would do: max_latency_ms from 10 to 20 (far)"
    )


@pytest.mark.parametrize(
    ("limit", "figure", "said"),
    [("max_size_mb", 1.10501, "1.106"), ("max_size_mb", 1.1, "1.1"), ("min_metric", 77.7777, "77.77"),
     ("max_latency_ms", 12345.6, "12350"), ("min_metric", 0.0, "0")],
)  # fmt: skip
def test_a_limit_that_is_moved_to_what_is_said_is_met(limit: str, figure: float, said: str) -> None:
    assert Move(limit, 1.0, figure, "x").said() == f"{limit} from 1 to {said}"
    assert Limit(limit, float(said)).misses_by(figure) <= 0


def test_where_nothing_was_judged_nothing_is_closest() -> None:
    assert closest({}, LIMITS) is None


def test_a_predicted_price_rules_out_only_beyond_its_margin() -> None:
    assert ruled_out_by(price(12.0), LIMITS, 0.2) == []
    assert [limit.name for limit in ruled_out_by(price(13.0), LIMITS, 0.2)] == ["max_latency_ms"]
    assert [limit.name for limit in ruled_out_by(price(10.1, "measured"), LIMITS, 0.2)] == ["max_latency_ms"]


def test_a_counted_size_rules_out_at_once() -> None:
    assert [limit.name for limit in ruled_out_by(price(1.0, size=20.5), LIMITS, 0.2)] == ["max_size_mb"]


def test_what_is_near_a_limit_is_measured_the_nearest_first() -> None:
    prices = {
        "known": price(10.0, "measured"), "near": price(11.0), "nearer": price(9.6), "fast": price(2.0),
        "slow": price(20.0), "large": price(10.0, size=40.0),
    }  # fmt: skip

    assert borderline(prices, LIMITS, 0.2) == ["nearer", "near"]
    for p50 in (12.1, 12.4, 12.6):  # what is not ruled out, and not within, is measured
        only = {"one": price(p50)}
        assert bool(ruled_out_by(only["one"], LIMITS, 0.2)) != bool(borderline(only, LIMITS, 0.2))


def test_what_does_not_run_in_the_devices_memory_is_out_whatever_the_limits() -> None:
    killed = Price(1.0, None, 5.0, "measured", {"fits_memory": False, "memory_limit_mb": 1800.0})

    assert "does not run in the 1800 MiB" in ruled_out_by(killed, LIMITS, 0.2)[0].said(0.0)
    assert ruled_out_by(killed, LIMITS, 0.2) == [Limit("max_memory_mb", 1800.0, of_device=True)]
    assert ruled_out_by(Price(1.0, 60.0, 5.0, "measured", {"fits_memory": None}), LIMITS, 0.2) == []


def test_what_needs_more_than_one_that_did_not_run_is_out_too_and_what_needs_about_as_much_is_measured() -> None:
    killed = Price(1.0, 100.0, 5.0, "measured", {"fits_memory": False, "memory_limit_mb": 64.0})
    prices = {
        "killed": killed,
        "runs": Price(1.0, 50.0, 5.0, "measured", {"fits_memory": True, "memory_limit_mb": 64.0}),
        "large": Price(1.0, 130.0, 5.0, "predicted"),
        "alike": Price(1.0, 110.0, 5.0, "predicted"),
        "small": Price(1.0, 60.0, 5.0, "predicted"),
        "unknown": Price(1.0, None, 5.0, "predicted"),
    }
    seen = beyond(prices, 0.2)

    assert [name for name in seen if ruled_out_by(seen[name], LIMITS, 0.2)] == ["killed", "large"]
    assert ruled_out_by(seen["large"], LIMITS, 0.2) == [Limit("max_memory_mb", 64.0, of_device=True)]
    assert borderline(seen, LIMITS, 0.2) == ["alike"]
    assert beyond({"runs": prices["runs"], "large": prices["large"]}, 0.2)["large"].too_little_mb is None


def test_what_is_not_known_of_the_closest_is_said() -> None:
    found = closest({"one": values(None, 12.0, 5.0)}, LIMITS)

    assert found is not None and found.unknown == ["min_metric"]
    assert found.said().endswith("to 12 must move; whether it meets min_metric is not known")
