"""Prices of candidates, and what they say before any training. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from compressor.advisor.candidates import Candidate
from compressor.advisor.cost_model import CostModel
from compressor.advisor.limits import Limit, Values, with_device_memory
from compressor.config.device import DeviceProfile
from compressor.devices.identity import is_this_machine
from compressor.request import Request
from compressor.steps import Steps

LARGEST_MARGIN = 0.5
"""A model that is off by more says nothing, and what it rules out by half is out all the same."""

How = Literal["measured", "predicted"]


@dataclass(frozen=True)
class Price:
    """What a candidate costs.

    `beyond_mb` is the device's memory, where a predicted candidate needs more than others that did not run in that.
    """

    p50_ms: float
    memory_mb: float | None
    size_mb: float
    how: How
    speed: dict[str, Any] | None = None  # `Speed` as a mapping, where it was measured
    beyond_mb: float | None = None

    @property
    def too_little_mb(self) -> float | None:
        """The memory that the device has for it, where that is too little."""
        return self.beyond_mb if self.speed is None else too_little_mb(self.speed)

    def values(self) -> Values:
        """By the names of the limits."""
        return {"max_latency_ms": self.p50_ms, "max_memory_mb": self.memory_mb, "max_size_mb": self.size_mb}


@dataclass(frozen=True)
class Priced:
    """A candidate of the grid with its run, what shape it leaves, and its price."""

    candidate: Candidate
    request: Request
    config: dict[str, Any]
    macs: int
    price: Price

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name


@dataclass(frozen=True)
class Item:
    """A candidate before it has a price; `steps` are those of its teacher."""

    candidate: Candidate
    request: Request
    config: dict[str, Any]
    steps: Steps

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name


@dataclass(frozen=True)
class Calibration:
    """The cost model of this device, on what it was calibrated, and how well it predicts what was left out."""

    p50: CostModel
    memory: CostModel | None
    size: Sequence[float]  # megabytes beside the weights: by layer, one that can drop tokens, one not float32; by graph
    shapes: Sequence[str]
    errors: Sequence[float]  # relative, of p50, each shape left out once

    @property
    def margin(self) -> float:
        """Twice the median error of what was left out, at most `LARGEST_MARGIN`: what a prediction may be off by."""
        return min(LARGEST_MARGIN, 2 * statistics.median(self.errors)) if self.errors else 0.0


@dataclass(frozen=True)
class Prices:
    """All prices; `calibration` is None where every candidate was measured."""

    priced: Sequence[Priced]
    impossible: Mapping[str, str]  # candidates without a price, and why
    calibration: Calibration | None
    margin: float  # share by which a predicted figure may be off
    measured_on: str
    on_device: bool
    baseline_mb: float | None  # memory of the runtime before it loads a model
    length: int  # tokens of the measured input


def out_of_memory(device: DeviceProfile) -> str:
    """Why a candidate whose graph could be made has no price, or no full run, by where it would be measured."""
    on_device = device.host is not None or is_this_machine(device)
    return f"ran out of memory on {'the device' if on_device else 'this machine'}"


def too_little_mb(speed: Mapping[str, Any]) -> float | None:
    """The memory that the device has for a model that was tried and did not run in that; None: it ran, or who knows."""
    return float(speed["memory_limit_mb"]) if speed.get("fits_memory") is False else None


def beyond(prices: Mapping[str, Price], margin: float) -> dict[str, Price]:
    """The same; predicted ones that need, for certain, more memory than one that did not run in the device's say so."""
    tight = _least_that_did_not_run(prices)
    if tight is None:
        return dict(prices)
    least_mb, left_mb = tight

    def seen(price: Price) -> Price:
        sure = price.how == "predicted" and price.memory_mb is not None and price.memory_mb * (1 - margin) >= least_mb
        return replace(price, beyond_mb=left_mb) if sure else price

    return {name: seen(price) for name, price in prices.items()}


def _least_that_did_not_run(prices: Mapping[str, Price]) -> tuple[float, float] | None:
    """Of what was measured and did not run in the device's memory: the least that one needs, and that memory."""
    tried = [price for price in prices.values() if price.how == "measured"]
    return min(((one.memory_mb, left) for one in tried if one.memory_mb and (left := one.too_little_mb)), default=None)


def borderline(prices: Mapping[str, Price], limits: Sequence[Limit], margin: float) -> list[str]:
    """Predicted candidates that one limit cannot tell within the margin, and none rules out; the nearest first.

    The device's own memory is a limit too, where a measured candidate did not run in that: at what it needs.
    """
    tight = _least_that_did_not_run(prices)
    if tight is not None:
        limits = [*limits, Limit("max_memory_mb", tight[0], of_device=True)]
    near: dict[str, float] = {}
    for name, price in prices.items():
        if price.how == "measured" or ruled_out_by(price, limits, margin):
            continue
        values = price.values()
        gaps = [abs(limit.value / value - 1) for limit in limits if (value := values.get(limit.name))]
        gaps = [gap for gap in gaps if gap <= margin]  # the figure may be this much off, as `ruled_out_by` has it
        if gaps:
            near[name] = min(gaps)
    return sorted(near, key=lambda name: near[name])


def ruled_out_by(price: Price, limits: Sequence[Limit], margin: float) -> list[Limit]:
    """The limits that a price misses for certain: a predicted one by more than the margin. Sizes are counted.

    What was measured and did not run in the device's memory misses that as a limit.
    """
    allowed = margin if price.how == "predicted" else 0.0
    values = price.values()
    found = []
    for limit in limits:
        value = values.get(limit.name)
        slack = min(allowed, 0.01) if limit.name == "max_size_mb" else allowed
        if value is not None and limit.misses_by(value * (1 - slack)) > 0:
            found.append(limit)
    return with_device_memory(found, price.too_little_mb)
