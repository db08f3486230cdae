"""Answers and times of one ONNX file, batch by batch, in this process and nothing else: JSON request in, JSON out.

`python onnx_run.py REQUEST.json` runs every batch of the request (rows of token ids, padded to the longest) at every
setting of the depth dial. For each setting it gives the logits and the layers run of every row, the milliseconds of
every batch, and of the probe's yardstick before or behind them, the slower one; `passes` 0 leaves the clock out. `run`
does it from another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from compressor.devices.probe import yardstick_ms

DIALS = ("margin", "entropy_threshold", "patience")


def run(
    model: Path,
    batches: Sequence[Sequence[Sequence[int]]],
    *,
    settings: Sequence[float | None] = (None,),
    passes: int = 0,
    pad: int = 0,
    threads: int = 2,
) -> dict[str, Any]:
    """Run a file in a process of its own; answers and times by setting, as `measure` gives them."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        request = {
            "model": str(model), "batches": batches, "settings": list(settings), "passes": passes, "pad": pad,
            "threads": threads, "output": str(output),
        }  # fmt: skip
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request))
        subprocess.run([sys.executable, __file__, str(file)], check=True)
        found: dict[str, Any] = json.loads(output.read_text())
    return found


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """By setting: logits [rows, classes], blocks [rows], times [passes, batches] and yardstick in milliseconds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = min(request["threads"], len(os.sched_getaffinity(0)))
    options.log_severity_level = 3
    session = ort.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in (*session.get_inputs(), *session.get_overridable_initializers())]
    outputs = [entry.name for entry in session.get_outputs()]
    width = next((entry.shape[-1] for entry in session.get_inputs() if entry.name == "states"), 0)
    found = {}
    for setting in request["settings"]:
        feeds = [_feed(batch, names, request["pad"], setting, width) for batch in request["batches"]]
        answers = [dict(zip(outputs, session.run(outputs, feed), strict=True)) for feed in feeds]
        times = []
        yardsticks = [yardstick_ms()] if request["passes"] else []
        for _ in range(request["passes"]):
            taken = []
            for feed in feeds:
                start = time.perf_counter()
                session.run(outputs, feed)
                taken.append((time.perf_counter() - start) * 1e3)
            times.append(taken)
        found[str(setting)] = {
            "logits": [row for answer in answers for row in answer.get("logits", np.zeros(0)).tolist()],
            "blocks": [row for answer in answers for row in answer.get("blocks_run", np.zeros(0)).tolist()],
            "times": times,
            "yardstick_ms": max([*yardsticks, yardstick_ms()]) if yardsticks else None,
        }
    return found


def _feed(
    batch: list[list[int]], names: list[str], pad: int, setting: float | None, width: int
) -> dict[str, np.ndarray]:
    longest = max(map(len, batch))
    ids = np.asarray([[*row, *[pad] * (longest - len(row))] for row in batch], np.int64)
    mask = np.asarray([[1] * len(row) + [0] * (longest - len(row)) for row in batch], np.int64)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    if width:  # the upper half of a graph reads what the lower one makes of the tokens
        feed["states"] = np.random.default_rng(0).standard_normal((*ids.shape, width), dtype=np.float32)
    feed = {name: value for name, value in feed.items() if name in names}
    dial = next((name for name in names if name in DIALS), None)
    if dial is not None and setting is not None:
        feed[dial] = np.asarray([setting], np.float32)
    return feed


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    Path(asked["output"]).write_text(json.dumps(measure(asked)))
