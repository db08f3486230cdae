"""Rounds of a measurement, and whether the machine was as fast in each as in the others. Pure.

A virtual machine, or one that grows hot, is slower at times, and such a time can outlast all rounds of a file, which
then agree. The probe's yardstick (`yardstick_ms`, one product of numpy's beside each round) tells a slow processor; it
lies in the caches, and does not tell that another process takes the memory's bandwidth.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STEADY = 0.05
"""Rounds whose p50 differ by more than this share of their median come from a machine that does something else too."""
SLOW = 0.1
"""A round whose yardstick takes more than this share longer than the fastest one is from a machine that was slow."""

Timing = Mapping[str, Any]
"""What the probe answers to `speed`."""


def spread_of(round_p50_ms: Sequence[float]) -> float | None:
    """Largest less smallest p50 of the rounds, over their median; None where there are not two times above zero."""
    if len(round_p50_ms) < 2 or min(round_p50_ms) <= 0:
        return None
    return (max(round_p50_ms) - min(round_p50_ms)) / statistics.median(round_p50_ms)


def is_steady(spread: float | None) -> bool | None:
    """Whether rounds that differ by this share agree; False: the machine was too noisy; None: it is not known."""
    return None if spread is None else spread <= STEADY


def fastest_of(yardsticks_ms: Iterable[float | None]) -> float | None:
    """The least of them; None where there is none above zero."""
    return min((value for value in yardsticks_ms if value), default=None)


def slowdown_of(yardsticks_ms: Sequence[float], fastest_ms: float | None) -> float | None:
    """By which share the slowest of these rounds took longer for the yardstick than the fastest that is known."""
    return max(yardsticks_ms) / fastest_ms - 1 if yardsticks_ms and fastest_ms else None


def is_slow(slowdown: float | None) -> bool:
    """Whether the machine was slow; not, where it is not known."""
    return slowdown is not None and slowdown > SLOW


def doubts_of(spread: float | None, slowdown: float | None) -> list[str]:
    """Why a latency is not to be believed, in words; none where nothing speaks against it."""
    found = []
    if is_steady(spread) is False and spread is not None:
        found.append(f"rounds differ by {100 * spread:.0f} %")
    if is_slow(slowdown) and slowdown is not None:
        found.append(f"the processor was {100 * slowdown:.0f} % slower than at other times")
    return found


def said(doubts: Sequence[str]) -> str:
    """The doubts as a note beside a figure; empty where there are none."""
    return f"the machine was too noisy: {' and '.join(doubts)}" if doubts else ""


def fastest_rounds(timings: Sequence[Timing], count: int) -> list[Timing]:
    """The `count` rounds in which the yardstick was fastest, in their order: chosen by it, and not by what they found.

    Rounds without a yardstick come first.
    """
    order = sorted(range(len(timings)), key=lambda place: timings[place].get("yardstick_ms") or 0.0)
    return [timings[place] for place in sorted(order[:count])]


def needs_another(timings: Sequence[Timing], count: int, fastest_ms: float | None) -> bool:
    """Whether one of the best `count` rounds is from a machine that was slow."""
    yardsticks = [timing["yardstick_ms"] for timing in fastest_rounds(timings, count) if timing.get("yardstick_ms")]
    return is_slow(slowdown_of(yardsticks, fastest_ms))
