"""Answers and times of rows of the table, text by text, in this process and nothing else: JSON request in, JSON out.

`python row_run.py REQUEST.json` runs every batch of the request (rows of one length) at every setting. For each setting
it gives the logits and the layers run of each batch's first row, and the milliseconds; `passes` 0 leaves the clock out.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Logits [batches, classes], blocks [batches] and times in milliseconds [passes, batches] by setting."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 3
    session = ort.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    dial = next((name for name in names if name in ("margin", "entropy_threshold", "patience")), None)
    outputs = [entry.name for entry in session.get_outputs()]
    found = {}
    for setting in request["settings"]:
        feeds = [_feed(batch, names, dial, setting) for batch in request["batches"]]
        answers = [dict(zip(outputs, session.run(outputs, feed), strict=True)) for feed in feeds]
        times = []
        for _ in range(request["passes"]):
            taken = []
            for feed in feeds:
                start = time.perf_counter()
                session.run(outputs, feed)
                taken.append((time.perf_counter() - start) * 1e3)
            times.append(taken)
        found[str(setting)] = {
            "logits": [answer["logits"][0].tolist() for answer in answers],
            "blocks": [int(answer["blocks_run"][0]) if "blocks_run" in answer else 0 for answer in answers],
            "times": times,
        }
    return found


def _feed(batch: list[list[int]], names: list[str], dial: str | None, setting: float | None) -> dict[str, np.ndarray]:
    ids = np.asarray(batch, np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feed = {name: value for name, value in feed.items() if name in names}
    if dial is not None and setting is not None:
        feed[dial] = np.asarray([setting], np.float32)
    return feed


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[1]).read_text())
    Path(request["output"]).write_text(json.dumps(measure(request)))
