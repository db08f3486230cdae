"""Speed of one row of a benchmark table, in this process and nothing else: JSON request in, JSON out.

`python row_speed.py REQUEST.json` prints `p50_ms` and `p90_ms` at batch 1 for the longest input and for the data's own
lengths, and rows a second at the throughput batch. Runtimes: ONNX Runtime, and OpenVINO where it is installed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Feed = dict[str, np.ndarray]


def onnxruntime_runner(request: dict[str, Any]) -> Callable[[Feed], Any]:
    """A session of ONNX Runtime on the CPU with the request's threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 3
    session = ort.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in (*session.get_inputs(), *session.get_overridable_initializers())}
    return lambda feed: session.run(None, {name: value for name, value in feed.items() if name in names})


def openvino_runner(request: dict[str, Any]) -> Callable[[Feed], Any]:
    """A compiled OpenVINO model on the CPU; `precision` is its inference precision hint (f32, bf16)."""
    import openvino as ov

    config = {
        "INFERENCE_NUM_THREADS": request["threads"],
        "INFERENCE_PRECISION_HINT": request["precision"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = ov.Core().compile_model(request["model"], "CPU", config)
    names = {name for port in compiled.inputs for name in port.get_names()}
    infer = compiled.create_infer_request()
    return lambda feed: infer.infer({name: value for name, value in feed.items() if name in names})


def _feed(rows: list[list[int]], keep: list[float] | None) -> Feed:
    length = max(map(len, rows))
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return feed if keep is None else feed | {"keep": np.asarray(keep, np.float32)}


def _times(run: Callable[[Feed], Any], feeds: list[Feed], seconds: float, at_least: int = 5) -> list[float]:
    for feed in feeds[:4]:
        run(feed)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < at_least:
        feed = feeds[len(times) % len(feeds)]
        start = time.perf_counter()
        run(feed)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def measure(request: dict[str, Any]) -> dict[str, list[float]]:
    """All timings of one row in milliseconds: `longest`, `own` (batch 1) and `batch` (whole batches)."""
    run = (openvino_runner if request["runtime"] == "openvino" else onnxruntime_runner)(request)
    keep, rows = request.get("keep"), request["rows"]
    longest = [_feed([row], keep) for row in request["longest"]]
    own = [_feed([row], keep) for row in rows]
    batch = [_feed(request["longest"] * (request["batch"] // len(request["longest"])), keep)]
    return {
        "longest": _times(run, longest, request["seconds"]),
        "own": _times(run, own, request["seconds"]),
        "batch": _times(run, batch, request["seconds"], at_least=1) if request["batch"] else [],
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
