"""The dial's table: what each worthwhile configuration costs and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compressor.graph.passes.search_lengths.evolution import Gene, Point, Space, pareto_set


def dial_table(
    points: Sequence[Point],
    space: Space,
    *,
    macs: Callable[[Gene], int],
    keep: Callable[[Gene], list[float]],
    metric: str,
    latency_ms: Callable[[Gene], float] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the Pareto set with the full and the smallest configuration, dearest first; plain JSON values.

    Each row has `keep` [layers], `tokens` [layers] at the reference length, `macs`, the metric in points and,
    where it was measured, `latency_ms`.
    """
    shown = {point.gene: point for point in pareto_set(points)}
    shown |= {point.gene: point for point in points if point.gene in (space.full, space.smallest)}
    rows: list[dict[str, Any]] = []
    for point in sorted(shown.values(), key=lambda p: (-p.cost, -p.metric, p.gene)):
        row = {
            "keep": keep(point.gene),
            "tokens": list(point.gene),
            "macs": macs(point.gene),
            metric: round(point.metric, 4),
        }
        if latency_ms is not None:
            row["latency_ms"] = round(latency_ms(point.gene), 4)
        rows.append(row)
    return rows
