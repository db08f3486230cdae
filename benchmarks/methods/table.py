"""Turn the measured files of `--work` into `benchmarks/methods.md`. Nothing in here is a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import page
from rows import ROWS, Row
from sets import SETS, Set
from workbench import machine_line

from compressor.devices.rounds import Timing, fastest_of, is_slow, slowdown_of
from compressor.graph.passes.nodes import graphs
from compressor.models import macs
from compressor.models.checkpoint import read_config
from compressor.models.structure import Structure
from compressor.validation.bootstrap import paired_interval

TRAINED_INT8 = ("int8-qat", "int8-qat-questions", "int8-qat-smoothed", "int8-qat-still")
STATIC_INT8 = ("int8-naive", "int8-percentile", "int8-mse")
FIRST_TEXT = 16
"""Tokens of a question, about the median."""
HEAD = (
    "method", "MB", "without embeddings", "million MACs", "p50 ms", "ms a text in 32s", "speed-up", "metric",
    "points [95 %]", "survey: size, GPU/CPU, points",
)  # fmt: skip


def write_page(work: Path, target: Path, options: Mapping[str, Any], remarks: Path) -> None:
    """Write the page: one table a data set with its machine, and the remarks that a person wrote beside it."""
    intro = [
        "# Every method, one strength each, on real input",
        "",
        "`python benchmarks/methods all --encoder DIR --data DIR` (questions: `--sets squad --question-teacher DIR`). "
        "Encoder: MiniLM, 6 layers of 384, fine-tuned. Latencies: rows in turn, processes of their own; medians over "
        "texts, then over rounds; `~` where the processor was slower at the time, as told by a product of matrices "
        "beside each round. Speed-up: p50 of the teacher's float32 graph against the row's. Points: against that "
        "graph. Speed-ups of the survey: GPU/CPU.",
    ]
    sections = {name: _section(work / name, entry, options) for name, entry in SETS.items()}
    page.write(target, intro, sections, remarks)


def _section(work: Path, entry: Set, options: Mapping[str, Any]) -> list[str] | None:
    """A data set's machine and table; None where it has not been measured."""
    if not (work / "speed.json").exists():
        return None
    times = json.loads((work / "speed.json").read_text())
    found = {path.stem: json.loads(path.read_text()) for path in (work / "quality").glob("*.json")}
    listed = [row for row in ROWS if row.key in times and row.key in found]
    metric = next(iter(found["teacher"]["metrics"]))
    lines = [
        f"MACs of {entry.length} tokens; {options['texts']} texts timed, {options['rounds']} rounds. {machine_line(2)}",
        "",
        "| " + " | ".join(HEAD).replace("metric", metric, 1) + " |",
        "|" + "---|" * len(HEAD),
    ]
    family = ""
    for row in listed:
        if row.family != family:
            family = row.family
            lines.append(f"| **{family}** |" + " |" * (len(HEAD) - 1))
        lines.append(_line(work, entry, row, times, found))
    return [*lines, *_pairs(listed, found)]


def _pairs(listed: Sequence[Row], found: Mapping[str, Any]) -> list[str]:
    """What trained int8 gains on each static one that was not trained, on the same examples."""
    known = {row.key: row.label for row in listed}
    trained = [key for key in known if key in TRAINED_INT8]
    lines = []
    for key in trained:
        for other in (other for other in STATIC_INT8 if other in known):
            first, second = (np.asarray(found[name]["scores"]) for name in (key, other))
            interval = paired_interval(first, second)
            lines.append(
                f"- {known[key]} against {known[other]}: {np.mean(first - second):+.2f} "
                f"[{interval.low:+.2f}, {interval.high:+.2f}] points"
            )
    return ["", *lines] if lines else []


def _line(work: Path, entry: Set, row: Row, times: Mapping[str, list[Timing]], found: Mapping[str, Any]) -> str:
    mine, base = found[row.key], found["teacher"]
    value, before = (float(next(iter(entry["metrics"].values()))) for entry in (mine, base))
    interval = paired_interval(np.asarray(mine["scores"]), np.asarray(base["scores"]))
    one, plain = (np.median([timing["one"] for timing in times[key]]) for key in (row.key, "teacher"))
    fastest = fastest_of(timing["yardstick_ms"] for taken in times.values() for timing in taken)
    slow = is_slow(slowdown_of([timing["yardstick_ms"] for timing in times[row.key]], fastest))
    key = f"{row.trained_as}-{len(row.stages)}" if row.stages else "teacher"
    config = read_config(work / "checkpoints" / key)
    cost = _macs(config, entry, halves=row.halves)
    size, inner = sizes(work / "graphs" / f"{row.key}.onnx", int(config["vocab_size"]))
    cells = [
        row.label,
        f"{size / 1e6:.1f}",
        f"{inner / 1e6:.1f}",
        f"{cost / 1e6:.0f}",
        f"{'~' if slow else ''}{one:.2f}",
        f"{np.median([timing['many'] for timing in times[row.key]]):.2f}",
        f"{plain / one:.2f}",
        f"{value:.2f}",
        f"{value - before:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
        row.survey,
    ]
    return "| " + " | ".join(cells) + " |"


def _macs(config: Mapping[str, Any], entry: Set, *, halves: bool) -> int:
    """Of the whole model; or, with halves, of the lower layers on a first text and of the upper ones on both."""
    structure = Structure.from_config(config)
    whole = macs.count(config, structure, length=entry.length, task=entry.task)
    if not halves or structure.split_layers is None:
        return whole
    below = structure.split_layers.layers
    lower, first = (
        macs.count(config, structure, length=tokens, blocks=below, task=entry.task)
        for tokens in (entry.length, FIRST_TEXT)
    )
    return whole - lower + first


def sizes(path: Path, vocabulary: int) -> tuple[int, int]:
    """Bytes of a file, and of it without what has a row for each word piece."""
    whole = path.stat().st_size
    model = onnx.load(str(path))
    tables = (tensor for graph in graphs(model.graph) for tensor in graph.initializer if vocabulary in tensor.dims[:2])
    return whole, whole - sum(tensor.ByteSize() for tensor in tables)
