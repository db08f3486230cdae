"""What the page says of one run, from its manifest: steps with gain and cost, times, dials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compressor.artifact.figures import signed
from compressor.artifact.manifest import Depth, DepthExample, Dial, KeptTokens, Manifest
from compressor.devices.rounds import SLOW, STEADY, doubts_of, is_slow, is_steady
from compressor.report.entry import Entry
from compressor.report.plot import histogram
from compressor.report.steadiness import Steadiness

SHADES = 5
"""Steps of shading of tokens, by the share of layers that keep them."""


@dataclass(frozen=True)
class Change:
    """A figure of one step: its value, what changed since the step before, and its share of the largest one."""

    value: float | None
    change: str  # "-0.50", "÷ 3.6"; empty for the first step
    better: bool | None  # None: the same, or nothing to compare with
    share: float  # of the largest value of all steps, 0 to 1


@dataclass(frozen=True)
class Step:
    """One step from the teacher to the artifact."""

    name: str
    metric: Change
    size_mb: Change
    gmacs: Change
    p50_ms: Change
    seconds: float | None
    measured_on: str | None


@dataclass(frozen=True)
class Shade:
    """A token with the layers that keep it, and how dark it is shown, 0 to SHADES."""

    text: str
    layers: int
    shade: int


def steps(manifest: Manifest) -> list[Step]:
    """What each step gained and cost against the one before."""
    rows = manifest.stages
    metrics = _differences([row.metric for row in rows])
    sizes = _ratios([_scaled(row.size_bytes, 1e6) for row in rows])
    macs = _ratios([_scaled(row.macs, 1e9) for row in rows])
    times = _ratios([row.p50_ms for row in rows])
    return [
        Step(row.name, metrics[i], sizes[i], macs[i], times[i], row.seconds, row.measured_on)
        for i, row in enumerate(rows)
    ]


def times(manifest: Manifest) -> str:
    """The distribution of the artifact's latency as SVG; empty where its times were not kept."""
    speed = manifest.speed.get("artifact", {})
    values = speed.get("times_ms") or []
    if len(values) < 2:
        return ""
    marks = {f"p{share}": speed[f"p{share}_ms"] for share in (50, 90, 99) if speed.get(f"p{share}_ms") is not None}
    return histogram(values, marks, speed.get("round_p50_ms") or ())


def steadiness(entry: Entry) -> str:
    """Whether the machine was slow, how far rounds agree, and other runs; empty where none of it is known."""
    found = entry.steadiness
    if entry.manifest is None:
        return ""
    if is_slow(found.slowdown) and found.slowdown is not None:
        return (
            f"The machine was too slow: one and the same product of matrices took {100 * found.slowdown:.0f} % longer "
            f"beside it than at other times there, more than {100 * SLOW:.0f} %. Measure again when nothing slows it."
        )
    if found.spread is None:
        return ""
    medians = ", ".join(f"{value:.2f}" for value in found.round_p50_ms)
    said = f"the medians of its {len(found.round_p50_ms)} rounds ({medians} ms) lie"
    if is_steady(found.spread) is False:
        return (
            f"The machine was too noisy: {said} {100 * found.spread:.0f} % apart, more than {100 * STEADY:.0f} %. "
            "Measure again on a quiet machine."
        )
    if found.disagreement is not None and is_steady(found.disagreement) is False:
        return (
            f"The machine was too noisy: {said} {100 * found.spread:.1f} % apart, but measurements of the same file "
            f"there {100 * found.disagreement:.0f} %, more than {100 * STEADY:.0f} %."
        )
    teacher = Steadiness.of_speed(entry.manifest.speed.get("teacher", {}))
    doubts = doubts_of(teacher.spread, teacher.slowdown)
    beside = f" What was gained is not to be told: beside the teacher {' and '.join(doubts)}." if doubts else ""
    return f"T{said[1:]} {100 * found.spread:.1f} % apart.{beside}"


def teacher_p50(manifest: Manifest) -> float | None:
    """The teacher's median, taken in the same rounds."""
    value = manifest.speed.get("teacher", {}).get("p50_ms")
    return float(value) if value else None


def shaded(example: KeptTokens, layers: int) -> list[Shade]:
    """The tokens of one text, darker the more layers keep them; pieces of words are joined."""
    words: list[tuple[str, int]] = []
    for text, kept in zip(example.tokens, example.layers, strict=True):
        if text.startswith("##") and words:
            words[-1] = (words[-1][0] + text[2:], max(words[-1][1], kept))
        else:
            words.append((text, kept))
    return [Shade(text, kept, round(SHADES * kept / layers) if layers else 0) for text, kept in words]


def tokens_by_layer(example: KeptTokens, layers: int) -> list[int]:
    """Tokens of one text that each layer keeps, [layers]."""
    return [sum(kept > layer for kept in example.layers) for layer in range(layers)]


def dial_rows(dial: Dial) -> list[dict[str, Any]]:
    """Lines of the dial's table, the default among them marked."""
    return [
        {
            "name": row.name,
            "keep": " ".join(f"{value:.2f}" for value in row.keep),
            "gmacs": _scaled(row.macs, 1e9),
            "metric": row.metric,
            "p50_ms": row.p50_ms,
            "measured_on": row.measured_on,
            "default": _same(row.keep, dial.default),
        }
        for row in dial.settings
    ]


def depth_share(depth: Depth) -> list[float]:
    """Share of the held-out texts that needed 1, 2 ... layers, [layers]."""
    total = sum(depth.histogram) or 1
    return [count / total for count in depth.histogram]


def stopped_early(depth: Depth) -> list[DepthExample]:
    """The texts shown that did not run all layers; none where nothing stopped early."""
    return [example for example in depth.early if example.blocks < depth.layers]


def _same(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and all(abs(a - b) < 1e-6 for a, b in zip(first, second, strict=True))


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _differences(values: Sequence[float | None]) -> list[Change]:
    """Points gained or lost: more is better."""
    most = max((value for value in values if value is not None), default=0.0) or 1.0
    found: list[Change] = []
    for value, before in zip(values, [None, *values[:-1]], strict=True):
        change, better = "", None
        if value is not None and before is not None:
            change = signed(value - before)
            better = None if abs(value - before) < 0.005 else value > before
        found.append(Change(value, change, better, max(0.0, (value or 0.0) / most)))
    return found


def _ratios(values: Sequence[float | None]) -> list[Change]:
    """How many times less, or more: less is better."""
    most = max((value for value in values if value is not None), default=0.0) or 1.0
    found: list[Change] = []
    for value, before in zip(values, [None, *values[:-1]], strict=True):
        change, better = "", None
        if value and before:
            ratio = before / value if value < before else value / before
            if ratio >= 1.005:
                better = value < before
                change = f"{'÷' if better else '×'} {ratio:.2f}"
            else:
                change = "same"
        found.append(Change(value, change, better, (value or 0.0) / most))
    return found
