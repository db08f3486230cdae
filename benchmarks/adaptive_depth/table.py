"""Turn the measured files of `--work` into `benchmarks/adaptive_depth.md`. Nothing in here is a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import LAYERS, SHAPES, Row, rows
from text_sets import DATASETS
from workbench import machine_line

from compressor.validation.bootstrap import paired_interval

METHODS = {
    "dact": "DACT",
    "dact_few": "DACT, two exits",
    "dact_paper": "DACT as in the paper",
    "deebert": "DeeBERT",
    "pabee": "PABEE",
    "plain": "plain students",
}
HEAD = (
    "row", "metric", "against all layers [95 %]", "mean layers", "mean ms", "p50 ms", "p90 ms", "of the full run",
)  # fmt: skip


def write_page(work: Path, target: Path, options: Mapping[str, Any], remarks: Path) -> None:
    """Write the page: machine, one table a data set, areas, and the remarks that a person wrote beside it."""
    lines = [
        "# Adaptive depth: DACT-BERT, DeeBERT and PABEE on real input",
        "",
        "`python benchmarks/adaptive_depth all --encoder DIR --data DIR` with "
        f"texts = {options['texts']}, rounds = {options['rounds']}. Encoder: MiniLM, 6 layers of 384, int8. "
        "Every text alone (batch 1), at its own length. Latencies: rows in turn, graphs in processes of their own; "
        "mean, p50 and p90 are over texts, then medians over rounds.",
        "",
        machine_line(2),
    ]
    for name in DATASETS:
        if (work / name / "speed.json").exists():
            lines += ["", f"## {name}", "", *_section(work / name)]
    text = remarks.read_text(encoding="utf-8") if remarks.exists() else ""
    target.write_text("\n".join(lines) + "\n\n" + text, encoding="utf-8")


def _section(work: Path) -> list[str]:
    times = {name: np.asarray(values) for name, values in json.loads((work / "speed.json").read_text()).items()}
    every = dict.fromkeys([*rows(several=False), *rows(several=True)])
    listed = [row for row in every if row.name in times and (work / "quality" / f"{row.name}.json").exists()]
    found = {row.name: json.loads((work / "quality" / f"{row.name}.json").read_text()) for row in listed}
    metric = next(iter(found["teacher"]["metrics"]))
    lines = ["| " + " | ".join(HEAD).replace("metric", metric, 1) + " |", "|" + "---|" * len(HEAD)]
    lines += [_line(row, found, times) for row in listed]
    lines += ["", *_areas(listed, found, times, metric), *_kept(listed, found), *_chosen(work, listed, found, times)]
    return lines + (_full_runs(work, listed) if (work / "full.json").exists() else [])


def _areas(listed: Sequence[Row], found: Mapping[str, Any], times: Mapping[str, np.ndarray], metric: str) -> list[str]:
    """Areas over all costs, and over those that every method can be set to (PABEE runs two layers at least)."""
    groups = {label: [row for row in listed if row.method == method] for method, label in METHODS.items()}
    groups |= {
        row.label.split(", all")[0]: [other for other in listed if other.graph == row.graph]
        for row in listed
        if row.method == "dact" and row.runs_all
    }
    points = {
        label: [
            (_layers(row, found), float(np.median(times[row.name].mean(axis=1))), _metric(row, found)) for row in rows
        ]
        for label, rows in groups.items()
        if len(rows) > 1
    }
    lines = [
        f"| area under {metric} | layers, from 1 | layers, where all have a point | ms, where all have a point |",
        "|---|---|---|---|",
    ]
    shared = [max(min(point[axis] for point in each) for each in points.values()) for axis in (0, 1)]
    slowest = float(np.median(times["teacher"].mean(axis=1)))
    for label, each in points.items():
        layers, taken = ([(point[axis], point[2]) for point in each] for axis in (0, 1))
        cells = [area(layers, 1.0, LAYERS), area(layers, shared[0], LAYERS), area(taken, shared[1], slowest)]
        lines.append(f"| {label} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return lines


def _kept(listed: Sequence[Row], found: Mapping[str, Any]) -> list[str]:
    """Whether margin 0 predicted on real texts what all layers predicted."""
    lines = []
    for row in listed:
        if row.method.startswith("dact") and row.setting == 0.0:
            full = next(other for other in listed if other.graph == row.graph and other.runs_all)
            ours, all_layers = found[row.name]["predictions"], found[full.name]["predictions"]
            same = sum(one == other for one, other in zip(ours, all_layers, strict=True))
            lines += ["", f"{row.label}: {same} of {len(ours)} texts are predicted as by all layers."]
    return lines


def _chosen(work: Path, listed: Sequence[Row], found: Mapping[str, Any], times: Mapping[str, np.ndarray]) -> list[str]:
    """What `search_depth` chose by held-out texts, and what that is worth on the test part."""
    lines = []
    for full in (row for row in listed if row.runs_all):
        notes = work / "graphs" / f"{full.graph}-chosen.json"
        if not notes.exists():
            continue
        said = json.loads(notes.read_text())
        row = next(other for other in listed if other.graph == full.graph and other.setting == said["setting"])
        mine, whole = np.asarray(found[row.name]["scores"]), np.asarray(found[full.name]["scores"])
        interval = paired_interval(mine, whole)
        share = np.median(times[row.name].mean(axis=1) / times[full.name].mean(axis=1))
        lines.append(
            f"| {row.label} | {said['full_metric'] - said['chosen_metric']:.2f} at {said['mean_blocks']:.2f} layers "
            f"| {_metric(row, found) - _metric(full, found):+.2f} [{interval.low:+.2f}, {interval.high:+.2f}] "
            f"| {_layers(row, found):.2f} | {100 * share:.0f} % |"
        )
    if not lines:
        return []
    head = (
        f"| chosen by `search_depth` on {said['examples']} held-out texts | lost there | test part, against its full "
        "run [95 %] | mean layers | mean latency of its full run |"
    )
    return ["", head, "|---|---|---|---|---|", *lines]


def _full_runs(work: Path, listed: Sequence[Row]) -> list[str]:
    """All layers run: medians over rounds of the time against the plain graph of as many layers."""
    times = {name: np.asarray(values) for name, values in json.loads((work / "full.json").read_text()).items()}
    heads = [f"{batch} x {length}" for batch, length in SHAPES]
    lines = ["", "| all layers run, of the plain graph | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    plain = times["teacher"]
    lines.append("| plain graph, ms | " + " | ".join(f"{value:.2f}" for value in np.median(plain, axis=0)) + " |")
    for row in listed:
        if row.name in times and row.runs_all:
            ratios = np.median(times[row.name] / plain, axis=0)
            lines.append(f"| {row.label} | " + " | ".join(f"{value:.2f}" for value in ratios) + " |")
    return lines


def _metric(row: Row, found: Mapping[str, Any]) -> float:
    return float(next(iter(found[row.name]["metrics"].values())))


def _layers(row: Row, found: Mapping[str, Any]) -> float:
    if row.method == "plain":
        return float(LAYERS if row.graph == "teacher" else int(row.graph.removeprefix("plain-")))
    return float(np.mean(found[row.name]["blocks"]))


def _line(row: Row, found: Mapping[str, Any], times: Mapping[str, np.ndarray]) -> str:
    base, mine = found["teacher"], found[row.name]
    interval = paired_interval(np.asarray(mine["scores"]), np.asarray(base["scores"]))
    change = _metric(row, found) - float(next(iter(base["metrics"].values())))
    taken = times[row.name]
    full = next(name for name in times if name.split("@")[0] == row.graph)  # rows begin with the one of all layers
    share = np.median(taken.mean(axis=1) / times[full].mean(axis=1))
    cells = [
        row.label,
        f"{_metric(row, found):.2f}",
        f"{change:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
        f"{_layers(row, found):.2f}",
        f"{np.median(taken.mean(axis=1)):.2f}",
        *(f"{np.median(np.quantile(taken, level, axis=1)):.2f}" for level in (0.5, 0.9)),
        f"{100 * share:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def area(points: Sequence[tuple[float, float]], least: float, most: float) -> float:
    """Mean over costs from `least` to `most` of the best metric that a method has for at most that cost.

    Below its cheapest point a method counts nothing.
    """
    best, total, at = 0.0, 0.0, least
    for cost, value in sorted(points):
        place = min(max(cost, least), most)
        total += best * (place - at)
        at, best = place, max(best, value)
    total += best * (most - at)
    return total / (most - least)
