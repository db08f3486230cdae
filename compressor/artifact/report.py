"""The report: one self-contained HTML file with inline SVG; nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import jinja2

from compressor.artifact.card import shown_name
from compressor.artifact.manifest import Manifest
from compressor.artifact.plot import Point, scatter

_STATES = {None: "not judged", True: "met", False: "missed"}


def render(manifest: Manifest, *, refused: str | None = None) -> str:
    """The whole page; `refused` is the reason why there is no artifact."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compressor.artifact", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(fixed=_fixed, name=shown_name)
    return environment.get_template("report.html.jinja").render(
        manifest=manifest,
        refused=refused,
        gates=[{**gate, "state": _STATES[gate["passed"]]} for gate in manifest.gates],
        plots=[
            (scatter(_by_macs(manifest), x_label="GMACs", y_label=manifest.metric_name), "MACs"),
            (scatter(_by_latency(manifest), x_label="p50 ms", y_label=manifest.metric_name), "latency"),
        ],
        request=json.dumps(manifest.request, indent=2, ensure_ascii=False, default=str),
    )


def _by_macs(manifest: Manifest) -> list[Point]:
    points = [
        Point(row.macs / 1e9, row.metric, row.name, "stage", named=place in (0, len(manifest.stages) - 1))
        for place, row in enumerate(manifest.stages)
        if row.macs is not None and row.metric is not None
    ]
    rows = manifest.dial.settings if manifest.dial else []
    return points + [
        Point(row.macs / 1e9, row.metric, row.name, "dial")
        for row in rows
        if row.macs is not None and row.metric is not None
    ]


def _by_latency(manifest: Manifest) -> list[Point]:
    points = [
        Point(row.p50_ms, row.metric, row.name, "stage", named=place in (0, len(manifest.stages) - 1))
        for place, row in enumerate(manifest.stages)
        if row.p50_ms is not None and row.metric is not None
    ]
    rows = manifest.dial.settings if manifest.dial else []
    return points + [
        Point(row.p50_ms, row.metric, row.name, "dial")
        for row in rows
        if row.p50_ms is not None and row.metric is not None
    ]


def _fixed(value: Any, digits: int = 2, scale: float = 1.0) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value / scale:.{digits}f}"
