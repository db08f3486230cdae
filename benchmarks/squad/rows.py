"""The rows of the table: which file, on which runtime, at which dial setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LENGTH = 384
PAPER_GENES = ((315, 251, 242, 159, 142, 33), (269, 253, 252, 202, 104, 34))
"""Length configurations that the QuaLA-MiniLM paper publishes, tokens of 384 after each layer."""

LATE = (
    (1.0, 1.0, 1.0, 0.6, 0.3, 0.15),
    (1.0, 1.0, 1.0, 0.5, 0.2, 0.08),
    (1.0, 1.0, 1.0, 0.35, 0.15, 0.06),
    (1.0, 1.0, 1.0, 0.25, 0.1, 0.05),
)
"""Settings that drop tokens late, chosen by hand: what the last layers do not look at."""


@dataclass(frozen=True)
class Row:
    """One line: `name` is its key in the result files, `checkpoint` the folder whose shape gives its MACs."""

    name: str
    label: str
    model: Path
    checkpoint: str
    runtime: str = "onnxruntime"
    precision: str = "f32"
    keep: tuple[float, ...] | None = None
    scored: bool = True


def keep_of(counts: Sequence[int]) -> tuple[float, ...]:
    """Fractions of 384 tokens."""
    return tuple(count / LENGTH for count in counts)


def searched(work: Path, drops: Sequence[float]) -> list[tuple[str, tuple[float, ...]]]:
    """The cheapest configurations that the search found within each drop, judged on its own part of the data."""
    notes = work / "graphs" / "adaptive-searched.json"
    if not notes.exists():
        return []
    table = json.loads(notes.read_text())["table"]
    full = max(table, key=lambda entry: entry["macs"])["f1"]
    found = []
    for drop in drops:
        fitting = [entry for entry in table if entry["f1"] >= full - drop]
        best = min(fitting, key=lambda entry: entry.get("latency_ms") or entry["macs"])
        found.append((f"searched, within {drop:g} F1 on the search part", tuple(best["keep"])))
    return found


def rows(work: Path) -> list[Row]:
    """All rows whose graph exists."""
    graphs = work / "graphs"
    adaptive, adaptive_int8 = graphs / "adaptive-fused.onnx", graphs / "adaptive-int8.onnx"
    layers = 6
    everywhere = (0.95,) * layers
    quarter = keep_of((150, 96, 60, 48, 32, 16))
    listed = [
        Row("bert-base", "BERT-base shape, fp32, Optimum export", graphs / "bert-base.onnx", "bert-base", scored=False),
        Row("teacher", "teacher (MiniLM 6 x 384), fp32, Optimum export", graphs / "teacher.onnx", "teacher"),
        Row("teacher-fused", "teacher, fp32, fused", graphs / "teacher-fused.onnx", "teacher"),
        Row("teacher-int8", "teacher, fused, dynamic int8", graphs / "teacher-int8.onnx", "teacher"),
        Row("teacher-plain-int8", "teacher, not fused, dynamic int8", graphs / "teacher-plain-int8.onnx", "teacher"),
        Row(
            "teacher-ort-fused",
            "teacher, fp32, stock optimizer of ONNX Runtime",
            graphs / "teacher-ort-fused.onnx",
            "teacher",
            scored=False,
        ),
        Row("adaptive", "length-adaptive, fp32, full length", adaptive, "adaptive"),
        Row("adaptive-95", "length-adaptive, fp32, keep 0.95", adaptive, "adaptive", keep=everywhere),
        Row("int8", "length-adaptive, int8, full length", adaptive_int8, "adaptive", keep=(1.0,) * layers),
        Row("int8-95", "length-adaptive, int8, keep 0.95", adaptive_int8, "adaptive", keep=everywhere),
    ]
    for index, genes in enumerate(PAPER_GENES):
        label = f"length-adaptive, int8, paper's {genes}"
        listed.append(Row(f"int8-paper-{index + 1}", label, adaptive_int8, "adaptive", keep=keep_of(genes)))
    for index, keep in enumerate(LATE):
        label = f"length-adaptive, int8, late {keep}"
        listed.append(Row(f"int8-late-{index + 1}", label, adaptive_int8, "adaptive", keep=keep))
    untrained = graphs / "untrained-int8.onnx"
    for index, keep in enumerate(((1.0,) * layers, *LATE)):
        label = f"teacher's weights made length-adaptive without training, int8, {keep}"
        listed.append(Row(f"untrained-{index}", label, untrained, "untrained", keep=keep))
    for index, (label, keep) in enumerate(searched(work, (0.25, 0.5, 1.0, 2.0))):
        listed.append(
            Row(f"int8-searched-{index + 1}", f"length-adaptive, int8, {label}", adaptive_int8, "adaptive", keep=keep)
        )
    listed += [
        Row("int8-quarter", "length-adaptive, int8, a quarter of the MACs", adaptive_int8, "adaptive", keep=quarter),
        Row(
            "fp32-quarter",
            "length-adaptive, fp32, a quarter of the MACs",
            adaptive,
            "adaptive",
            keep=quarter,
            scored=False,
        ),
        Row("student", "4-layer student, fp32", graphs / "student-fused.onnx", "student"),
        Row("student-int8", "4-layer student, int8", graphs / "student-int8.onnx", "student"),
        Row(
            "openvino-bf16",
            "for the record: teacher, OpenVINO bf16",
            graphs / "teacher.onnx",
            "teacher",
            "openvino",
            "bf16",
        ),
        Row(
            "openvino-int8",
            "for the record: teacher, NNCF int8, OpenVINO",
            graphs / "teacher-nncf.onnx",
            "teacher",
            "openvino",
        ),
    ]
    return [row for row in listed if row.model.exists()]
