"""The dial table of the manifest, from what the length search left in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.artifact.manifest import Dial, DialSetting, KeptTokens


def make_dial(
    *,
    kind: str,
    default: Sequence[float],
    minimum: int,
    full_macs: int | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    metric: str = "",
    metric_data: str = "the part of the training data that was held out for the search",
    measured_on: str | None = None,
    examples: Sequence[KeptTokens] = (),
) -> Dial:
    """Name the rows of a search's table: "full", "smallest", and the others by their share of the MACs ("macs_45").

    `examples` show which tokens stay at the default.

    `rows` have `keep`, `macs`, the metric under its own name and perhaps `latency_ms` (taken on `measured_on`).
    """
    macs = [int(row["macs"]) for row in rows if row.get("macs")]
    most = full_macs or (max(macs) if macs else None)
    settings: list[DialSetting] = []
    taken: set[str] = set()
    for row in rows:
        name = _name(row, most, min(macs) if macs else None)
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        taken.add(unique)
        latency = row.get("latency_ms")
        settings.append(
            DialSetting(
                name=unique,
                keep=[float(value) for value in row["keep"]],
                macs=row.get("macs"),
                metric=row.get(metric),
                p50_ms=latency,
                measured_on=measured_on if latency is not None else None,
            )
        )
    return Dial(
        kind=kind,
        layers=len(default),
        minimum=minimum,
        default=[float(value) for value in default],
        full_macs=most,
        metric_data=metric_data if rows else "",
        settings=settings,
        examples=list(examples),
    )


def _name(row: Mapping[str, Any], most: int | None, least: int | None) -> str:
    if all(value == 1 for value in row["keep"]):
        return "full"
    macs = row.get("macs")
    if macs is None or not most:
        return "setting"
    return "smallest" if macs == least else f"macs_{round(100 * macs / most)}"
