"""Plots as inline SVG: points with a Pareto front and limits, histograms, bars. Colours come from the style sheet.

`page.js` draws the points anew for other axes and filters, in the same shapes and classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 44
BINS = 24
_R = 5.0


@dataclass(frozen=True)
class Dot:
    """One mark; `colour` counts the style sheet's colours and shapes, hollow ones are no artifact of ours."""

    x: float
    y: float
    label: str
    href: str = ""
    colour: int = 0
    hollow: bool = False


def scatter(
    dots: Sequence[Dot],
    *,
    x_label: str,
    y_label: str,
    more_is_better: bool = True,
    x_limit: float | None = None,
    y_limit: float | None = None,
    apart: bool = False,
) -> str:
    """What goes into an `<svg>` of WIDTH x HEIGHT: axes, limits, the front of what is good and cheap, the marks.

    `apart`: each colour has a front of its own, as their figures cannot be compared.
    """
    if not dots:
        return ""
    xs, ys = [min(0.0, *(dot.x for dot in dots)), *(dot.x for dot in dots)], [dot.y for dot in dots]
    x_limit, y_limit = within(x_limit, xs), within(y_limit, ys)
    xs, ys = xs + [one for one in [x_limit] if one is not None], ys + [one for one in [y_limit] if one is not None]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(value: float) -> float:
        return LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - LEFT)

    def down(value: float) -> float:
        return bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - TOP)

    parts: list[str] = []
    for value in x_ticks:
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 17}" text-anchor="middle">{value:g}</text>')
    for value in y_ticks:
        place = down(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{place + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle, centre = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 7}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'x="13" y="{centre:.0f}" text-anchor="middle" transform="rotate(-90 13 {centre:.0f})"'
    parts.append(f'<text class="axis" {turned}>{escape(y_label)}</text>')
    if x_limit is not None:
        at = across(x_limit)
        parts.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>')
    if y_limit is not None:
        at = down(y_limit)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
    solid = [dot for dot in dots if not dot.hollow]
    for colour in sorted({dot.colour for dot in solid}) if apart else [None]:
        mine = [(dot.x, dot.y) for dot in solid if colour in (None, dot.colour)]
        best = front(mine, more_is_better=more_is_better)
        if len(best) > 1:
            steps = f"M{across(best[0][0]):.1f} {down(best[0][1]):.1f}"
            steps += "".join(f"H{across(x):.1f}V{down(y):.1f}" for x, y in best[1:])
            parts.append(f'<path class="front" d="{steps}"/>')
    for dot in dots:
        label = escape(f"{dot.label}: {dot.x:.4g}, {dot.y:.2f}", quote=True)
        look = f"dot c{dot.colour % 8}{' hollow' if dot.hollow else ''}"
        mark = f'<path class="{look}" d="{shape(dot.colour, across(dot.x), down(dot.y))}"/>'
        inside = f"{mark}<title>{label}</title>"
        parts.append(
            f'<a href="{escape(dot.href, quote=True)}" aria-label="{label}">{inside}</a>'
            if dot.href
            else f'<g role="img" aria-label="{label}">{inside}</g>'
        )
    return "".join(parts)


def within(limit: float | None, values: Sequence[float]) -> float | None:
    """A limit that is to be drawn; None for one so far from all values that it would press them together."""
    if limit is None:
        return None
    low, high = min(values), max(values)
    reach = 2 * max(high - low, 0.1 * abs(high))
    return limit if low - reach <= limit <= high + reach else None


def front(points: Sequence[tuple[float, float]], *, more_is_better: bool = True) -> list[tuple[float, float]]:
    """The points that no other beats at the same or a lower x, from left to right."""
    sign = 1 if more_is_better else -1
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not best or sign * y > sign * best[-1][1]:
            best.append((x, y))
    return best


def shape(kind: int, x: float, y: float, r: float = _R) -> str:
    """The outline of a mark: circle, square, triangle or diamond in turn."""
    if kind % 4 == 1:
        s = 0.88 * r
        return f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h{-2 * s:.1f}Z"
    if kind % 4 == 2:
        return f"M{x:.1f} {y - 1.2 * r:.1f}l{1.15 * r:.1f} {2 * r:.1f}h{-2.3 * r:.1f}Z"
    if kind % 4 == 3:
        s = 1.25 * r
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l{-s:.1f} {s:.1f}l{-s:.1f} {-s:.1f}Z"
    return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0Z"


def histogram(times: Sequence[float], marks: Mapping[str, float], rounds: Sequence[float] = ()) -> str:
    """What goes into an `<svg viewBox="0 0 360 132">`: how often each time was seen, percentiles, medians of rounds.

    Times beyond three times the median are counted in the last bar, so that one hiccup does not flatten the rest.
    """
    middle = sorted(times)[len(times) // 2]
    low, high = min(times), min(max(times), max(3 * middle, *marks.values(), *rounds))
    width = (high - low) / BINS or 1.0
    counts = [0] * BINS
    for value in times:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    most, left, right, top, bottom = max(counts), 6.0, 354.0, 24.0, 100.0

    def across(value: float) -> float:
        return left + (min(max(value, low), low + BINS * width) - low) / (BINS * width) * (right - left)

    parts = []
    for place, count in enumerate(counts):
        if count:
            height = (bottom - top) * count / most
            x = across(low + place * width)
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{bottom - height:.1f}" width="{(right - left) / BINS - 1:.1f}" '
                f'height="{height:.1f}"/>'
            )
    parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    places = spread([across(value) for value in marks.values()], 44, left + 16, right - 16)
    for (name, value), beside in zip(marks.items(), places, strict=True):
        at = across(value)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 4}" y2="{bottom}"/>')
        parts.append(f'<text x="{beside:.1f}" y="12" text-anchor="middle">{escape(name)}</text>')
    for value in rounds:
        at = across(value)
        parts.append(f'<path class="round" d="M{at:.1f} {bottom + 2}l4 8h-8Z"/>')
    parts.append(f'<text x="{left}" y="127">{low:.3g} ms</text>')
    parts.append(f'<text x="{right}" y="127" text-anchor="end">{high:.3g} ms</text>')
    return "".join(parts)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places of labels in rising order, moved apart to at least `gap` and kept between both ends."""
    found = [min(max(place, low), high) for place in places]
    for index in range(1, len(found)):
        found[index] = max(found[index], found[index - 1] + gap)
    if found and found[-1] > high:
        found[-1] = high
        for index in range(len(found) - 2, -1, -1):
            found[index] = min(found[index], found[index + 1] - gap)
    return found


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five steps, that enclose both ends."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 10) for place in range(first, last + 1)]
