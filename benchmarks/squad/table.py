"""Turn the measured files of `--work` into `benchmarks/squad.md`. Nothing in here is a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rows import LENGTH, Row, rows
from workbench import machine_line

from compressor.config.device import DeviceProfile
from compressor.models import macs
from compressor.models.checkpoint import read_config
from compressor.models.structure import Structure
from compressor.tasks.base import Task
from compressor.validation.bootstrap import paired_interval

Times = dict[str, dict[str, list[list[float]]]]

HEAD = (
    "row", "MB", "EM", "F1", "F1 - teacher [95 %]", "agreement %", "GMACs", "p50 ms (384)", "p90 ms (384)",
    "p50 ms (own)", "p90 ms (own)", "rows/s (32 x 384)", "speed-up",
)  # fmt: skip


def quantile(times: Times, name: str, kind: str, level: float) -> float:
    """The median over rounds of one round's quantile, in milliseconds."""
    return float(np.median([np.quantile(values, level) for values in times[name][kind]]))


def ratio(times: Times, name: str, other: str, kind: str = "longest") -> tuple[float, float, float]:
    """Median, smallest and largest of the round-by-round ratios of two rows' medians."""
    pairs = zip(times[name][kind], times[other][kind], strict=True)
    found = [float(np.median(first) / np.median(second)) for first, second in pairs]
    return float(np.median(found)), min(found), max(found)


def _macs(work: Path, row: Row, teacher: Path, task: Task) -> int:
    folder = teacher if row.checkpoint == "teacher" else work / "checkpoints" / row.checkpoint
    config = read_config(folder)
    return macs.count(config, Structure.from_config(config), length=LENGTH, keep=row.keep, task=task.name)


def _quality(work: Path, row: Row) -> dict[str, Any] | None:
    path = work / "quality" / f"{row.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _line(work: Path, row: Row, times: Times, teacher: Path, task: Task) -> str:
    cells = [row.label, f"{row.model.stat().st_size / 1e6:.1f}"]
    found, base = _quality(work, row), json.loads((work / "quality" / "teacher.json").read_text())
    if found is None:
        cells += ["", "", "", ""]
    else:
        scores, reference = np.asarray(found["scores"]), np.asarray(base["scores"])
        interval = paired_interval(scores, reference)
        same = np.mean(
            [first == second for first, second in zip(found["predictions"], base["predictions"], strict=True)]
        )
        change = found["metrics"]["f1"] - base["metrics"]["f1"]
        cells += [
            f"{found['metrics']['exact_match']:.2f}",
            f"{found['metrics']['f1']:.2f}",
            f"{change:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
            f"{100 * same:.1f}",
        ]
    cells.append(f"{_macs(work, row, teacher, task) / 1e9:.2f}")
    for kind in ("longest", "own"):
        cells += [f"{quantile(times, row.name, kind, level):.1f}" for level in (0.5, 0.9)]
    cells.append(f"{32e3 / quantile(times, row.name, 'batch', 0.5):.1f}")
    speedup, low, high = ratio(times, "bert-base", row.name)
    cells.append(f"{speedup:.1f}x [{low:.1f}, {high:.1f}]")
    return "| " + " | ".join(cells) + " |"


def _figures(times: Times, names: set[str]) -> list[str]:
    wanted = (
        ("fp32 full length against the fused student", "adaptive", ("teacher", "teacher-ort-fused", "teacher-fused")),
        ("fp32 keep 0.95 against the fused student", "adaptive-95", ("teacher", "teacher-ort-fused", "teacher-fused")),
        ("int8 full length against the int8 student", "int8", ("teacher-plain-int8", "teacher-int8")),
        ("int8 keep 0.95 against the int8 student", "int8-95", ("teacher-plain-int8", "teacher-int8")),
        ("int8, a quarter of the MACs, against its own full length", "int8-quarter", ("int8",)),
        ("fp32, a quarter of the MACs, against its own full length", "fp32-quarter", ("adaptive",)),
    )
    lines = [
        "| ratio of p50 (384 tokens, batch 1) | against | median of rounds | smallest | largest |",
        "|---|---|---|---|---|",
    ]
    for label, name, others in wanted:
        for other in others:
            if {name, other} <= names:
                middle, low, high = ratio(times, name, other)
                lines.append(f"| {label} | {other} | {middle:.2f} | {low:.2f} | {high:.2f} |")
    return lines


def write_table(
    work: Path, target: Path, options: Mapping[str, Any], profile: DeviceProfile, task: Task, remarks: Path
) -> None:
    """Write the page: machine, command, table, ratios, and the remarks that a person wrote beside it."""
    times: Times = json.loads((work / "speed.json").read_text())
    listed = [row for row in rows(work) if row.name in times]
    shown = {
        key: value
        for key, value in options.items()
        if key not in ("teacher", "data", "work", "parts", "more_train") and value is not None
    }
    if options["more_train"]:
        shown["more_train"] = " ".join(Path(file).name for file in options["more_train"])
    lines = [
        "# SQuAD v1.1 subset: length-adaptive MiniLM against its teacher and BERT-base's shape",
        "",
        "`python benchmarks/squad all --teacher DIR --data DIR` with "
        + ", ".join(f"{key} = {value}" for key, value in shown.items())
        + ". All latencies are from one run: each row in a process of its own, rows in turn, "
        f"{options['rounds']} rounds; p50 and p90 are medians over rounds, ratios are formed within a round.",
        "",
        machine_line(profile.threads or "all"),
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *(_line(work, row, times, Path(options["teacher"]), task) for row in listed),
        "",
        *_figures(times, {row.name for row in listed}),
        "",
    ]
    target.write_text("\n".join(lines) + ("\n" + remarks.read_text() if remarks.exists() else ""))
