"""Turn the measured files of `--work` into `benchmarks/embedded.md`. Nothing in here is a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page
from sets import SETS
from shapes import verdict
from training import best
from workbench import machine_line

from compressor.advisor.halving import Point, front
from compressor.devices.rounds import fastest_of, is_slow, is_steady, slowdown_of

FIGURES = ("p50_ms", "p90_ms", "first_call_ms", "peak_memory_mb", "size_mb", "energy_mj")


def write_page(work: Path, target: Path, options: Mapping[str, Any], remarks: Path) -> None:
    """Write the page: machine, cost model, the study's models, each task's grid and advice, and a person's remarks."""
    intro = [
        "# BERT on small devices: the study's grid on the machine at hand",
        "",
        "`python benchmarks/embedded all --encoder DIR --data DIR`. The grid of Sarkar et al. 2024: which shape of "
        "BERT fits which task and board. Latency is p50 of 64 real tokens, batch 1, on the ONNX file, after warm-up, "
        "without tokenization, rows in turn, a fresh process a round; memory is the peak of a run of its own. Every "
        "figure of speed and memory here was taken on the machine that its section names, with each profile's number "
        "of threads (as far as it has them) and memory limit: none is a figure of a Raspberry Pi, Jetson, UP2 or UDOO.",
    ]
    shapes = work / "goemotions" / "whole"
    found = {
        "The cost model": _cost_model(shapes),
        "The study's models, random weights": _study(shapes),
        "The same file, measured again": _repeated(shapes),
        **{name: _section(name, work / name) for name in SETS},
    }
    where = machine_line("1 or 2") + _more(options["grid"])
    page.write(
        target, intro, {title: [where, "", *lines] if lines else None for title, lines in found.items()}, remarks
    )


def _more(words: Sequence[str]) -> str:
    """What the grid was changed by, as it is given on the command line."""
    return f" `--grid {' '.join(words)}`" if words else ""


def _cost_model(work: Path) -> list[str]:
    lines = ["Calibrated on at most 12 measured shapes, held against others that were measured in the same rounds."]
    for file in sorted(work.glob("predict-*.json")):
        found = json.loads(file.read_text())
        grid = file.stem.removeprefix("predict-")
        lines += ["", f"**{grid}**, {found['candidates']} candidates:", ""]
        lines += [f"- {line}" for line in verdict(found["rows"])]
        lines += ["", "| shape | p50 ms | predicted | error | |", "|---|---|---|---|---|"]
        for row in sorted(found["rows"], key=lambda row: row["p50_ms"]):
            given = row["predicted"]["p50_ms"]
            mark = "calibrated on" if row["calibrated"] else ""
            error = 100 * (given / row["p50_ms"] - 1)
            lines.append(f"| {row['name']} | {row['p50_ms']:.2f} | {given:.2f} | {error:+.0f} % | {mark} |")
    return lines if len(lines) > 1 else []


def _study(work: Path) -> list[str]:
    file = work / "study.json"
    if not file.exists():
        return []
    lines: list[str] = []
    groups: dict[str, list[str]] = {}
    found = json.loads(file.read_text())
    for name, entry in found.items():
        limit = next(iter(entry["rows"].values()))["memory_limit_mb"]
        groups.setdefault(f"{entry['threads']} threads, {limit or 0:.0f} MiB for the model", []).append(name)
    for limits, names in groups.items():
        lines += [f"Limits of {', '.join(names)} on this machine ({limits}):", ""]
        lines += [
            "| model | p50 ms | p90 ms | first call ms | peak MiB | size MB | energy mJ | fits |",
            "|" + "---|" * 8,
        ]
        for model in found[names[0]]["rows"]:
            several = [found[name]["rows"][model] for name in names if model in found[name]["rows"]]
            cells = [_middle([row.get(figure) for row in several]) for figure in FIGURES]
            fits = {True: "yes", False: "no", None: "not tried"}[several[0].get("fits_memory")]
            lines.append(f"| {model} | {' | '.join(cells)} | {fits} |")
        lines.append("")
    return lines[:-1]


def _repeated(work: Path) -> list[str]:
    file = work / "repeat.json"
    if not file.exists():
        return []
    lines = [
        "Medians of a whole measurement (rounds, each in a process of its own) against the median of those that were "
        "not told as noisy: rounds further apart than 5 %, or a yardstick over 10 % slower than the fastest of all.",
        "",
        "| candidate | times | p50 ms, median | lowest | highest | told as noisy | of these, rounds apart "
        "| of the others, half within | furthest off |",
        "|" + "---|" * 9,
    ]
    repeated = json.loads(file.read_text())
    fastest = fastest_of(
        value for taken in repeated.values() for entry in taken for value in entry["round_yardstick_ms"]
    )
    for name, taken in repeated.items():
        times = np.asarray([entry["p50_ms"] for entry in taken])
        apart = np.asarray([is_steady(entry["spread"]) is False for entry in taken])
        slow = np.asarray([is_slow(slowdown_of(entry["round_yardstick_ms"], fastest)) for entry in taken])
        good = times[~(apart | slow)]
        off = 100 * np.abs(good / np.median(good) - 1) if len(good) else np.full(1, np.nan)
        lines.append(
            f"| {name} | {len(times)} | {np.median(times):.2f} | {times.min():.2f} | {times.max():.2f} "
            f"| {len(times) - len(good)} | {int(apart.sum())} | {np.median(off):.1f} % | {off.max():.1f} % |"
        )
    return lines


def _section(name: str, work: Path) -> list[str]:
    """One data set: the mean over its runs of every candidate on the Pareto front, and the advice to each budget."""
    grids = [json.loads(file.read_text()) for file in sorted(work.glob("*/grid.json"))]
    grids = [grid for grid in grids if len({row["shape"] for row in grid["rows"].values()}) == grid["shapes"]]
    if not grids:
        return []
    metric = grids[0]["metric"]
    names = [one for one in grids[0]["rows"] if all(one in grid["rows"] for grid in grids)]
    mean = {one: {figure: [grid["rows"][one][figure] for grid in grids] for figure in
                  ("metric", "p50_ms", "memory_mb", "size_mb", "energy_mj")} for one in names}  # fmt: skip
    points = [
        Point(one, "", float(np.mean(mean[one]["metric"])), float(np.median(mean[one]["p50_ms"]))) for one in names
    ]
    several = f", means of {len(grids)} runs (seeds and folds) with 95 % intervals" if len(grids) > 1 else ""
    noisy = sum(grids[0]["rows"][one].get("steady") is False for one in names)  # all runs have the same prices
    lines = [f"{len(names)} candidates of {grids[0]['shapes']} trained shapes{several}; {noisy} prices from a noisy "
             "machine. Those that none beats in both metric and latency, and the whole encoder:",
             "",
             f"| candidate | {metric} | p50 ms | peak MiB | size MB | energy mJ |", "|" + "---|" * 6]  # fmt: skip
    shown = dict.fromkeys(
        [*(point.name for point in front(points)), *(one for one in names if one.startswith("l6-w100-"))]
    )
    for one in shown:
        row = mean[one]
        cells = [_interval(row["metric"]), _middle(row["p50_ms"]), _middle(row["memory_mb"], 0),
                 _middle(row["size_mb"], 1), _middle(row["energy_mj"])]  # fmt: skip
        lines.append(f"| {one} | {' | '.join(cells)} |")
    return lines + _advice(work, metric)


def _advice(work: Path, metric: str) -> list[str]:
    lines = ["", f"| run | limits | advised | {metric} | p50 ms | the grid's best | {metric} | p50 ms | points | "
             "latency | training |", "|" + "---|" * 11]  # fmt: skip
    for file in sorted(work.glob("*/advice.json")):
        rows = json.loads((file.parent / "grid.json").read_text())["rows"]
        for answer in json.loads(file.read_text()).values():
            lines.append(f"| {file.parent.name} | {_answer(answer, rows)} |")
    return lines if len(lines) > 3 else []


def _answer(answer: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    limits = ", ".join(f"{name} = {value:g}" for name, value in answer["limits"].items())
    ideal, given = best(rows, answer["limits"]), answer["recommended"]
    share = f"{100 * answer['cost']['share']:.0f} %"
    one = ["nothing", "", ""] if given is None else [given, *_pair(rows[given])]
    other = ["nothing", "", ""] if ideal is None else [ideal, *_pair(rows[ideal])]
    apart = ["", ""]
    if given is not None and ideal is not None:
        apart = [f"{rows[given]['metric'] - rows[ideal]['metric']:+.2f}",
                 f"{100 * (rows[given]['p50_ms'] / rows[ideal]['p50_ms'] - 1):+.0f} %"]  # fmt: skip
    return " | ".join([limits, *one, *other, *apart, share])


def _pair(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['metric']:.2f}", f"{row['p50_ms']:.2f}"]


def _middle(values: Sequence[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.{digits}f}" if known else "not measured"


def _interval(values: Sequence[float]) -> str:
    """The mean, with the bootstrap's 95 % interval where there are several runs."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    drawn = np.random.default_rng(0).choice(np.asarray(values), (10_000, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}]"
