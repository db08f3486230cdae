"""Scatter plots as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 44


@dataclass(frozen=True)
class Point:
    """One mark; `series` is its class in the style sheet, `label` is written beside it if `named`."""

    x: float
    y: float
    label: str
    series: str
    named: bool = False


def scatter(points: Sequence[Point], *, x_label: str, y_label: str) -> str:
    """An `<svg>` of the points with axes; empty text for fewer than two points."""
    if len(points) < 2:
        return ""
    x_ticks = _ticks(0.0, max(point.x for point in points))
    y_ticks = _ticks(min(point.y for point in points), max(point.y for point in points))

    def across(value: float) -> float:
        return _LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - _TOP - _BOTTOM)

    title = escape(f"{y_label} against {x_label}")
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">']
    bottom = HEIGHT - _BOTTOM
    for value in x_ticks:
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in y_ticks:
        place = down(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    centre = (_TOP + bottom) / 2
    parts.append(
        f'<text x="14" y="{centre:.0f}" text-anchor="middle" transform="rotate(-90 14 {centre:.0f})">'
        f"{escape(y_label)}</text>"
    )
    for point in points:
        x, y, label = across(point.x), down(point.y), escape(point.label)
        parts.append(
            f'<circle class="{escape(point.series)}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            f"<title>{label}: {point.x:.4g}, {point.y:.2f}</title></circle>"
        )
        if point.named:
            anchor, shift = ("end", -8) if x > WIDTH - 120 else ("start", 8)
            parts.append(f'<text x="{x + shift:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{label}</text>')
    parts.append("</svg>")
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five steps, that enclose both ends."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 10) for place in range(first, last + 1)]
