"""Measured time of a graph at any `keep`, made comparable over a long search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime

from compressor.devices import measure
from compressor.devices.place import Place
from compressor.graph.passes.batches import TOKENS

_WARMUP = 3


def _feed(names: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """One input [1, length] without padding."""
    return {name: np.full((1, length), int(name != "token_type_ids"), dtype=np.int64) for name in names}


class Stopwatch:
    """p50 in milliseconds of single inputs of `length` real tokens.

    A machine drifts over the minutes of a search. Each configuration is therefore timed in turn with the full
    length, and the ratio of the two medians is multiplied with the full length's first median.
    """

    def __init__(self, session: onnxruntime.InferenceSession, layers: int, length: int, runs: int) -> None:
        self._session = session
        self._runs = runs
        names = [entry.name for entry in session.get_inputs() if entry.name in TOKENS]
        self._feed = _feed(names, length)
        self._full = [1.0] * layers
        for _ in range(_WARMUP):
            self._once(self._full)
        self.full_ms = median(self._once(self._full) for _ in range(2 * runs + 1))

    def _once(self, keep: Sequence[float]) -> float:
        feed = {**self._feed, "keep": np.asarray(keep, dtype=np.float32)}
        start = time.perf_counter()
        self._session.run(None, feed)
        return (time.perf_counter() - start) * 1e3

    def latency_ms(self, keep: Sequence[float]) -> float:
        """Time at `keep`, in milliseconds as of the full length's first measurement."""
        if list(keep) == self._full:
            return self.full_ms
        self._once(keep)
        pairs = [(self._once(keep), self._once(self._full)) for _ in range(self._runs)]
        return self.full_ms * median(one for one, _ in pairs) / median(full for _, full in pairs)


class RemoteStopwatch:
    """The same on a board, where each configuration is timed in turn with the full length in a process of its own."""

    def __init__(self, path: Path, place: Place, names: Sequence[str], layers: int, length: int, runs: int) -> None:
        self._path, self._place, self._runs = path, place, runs
        self._feed = _feed([name for name in names if name in TOKENS], length)
        self._full = [1.0] * layers
        (self.full_ms,) = self._times(self._full)

    def _times(self, *keeps: Sequence[float]) -> list[float]:
        return measure.measure_turns(
            self._path, self._place, self._feed, keeps, warmup=_WARMUP, runs=2 * self._runs + 1
        )

    def latency_ms(self, keep: Sequence[float]) -> float:
        """Time at `keep`, in milliseconds as of the full length's first measurement."""
        if list(keep) == self._full:
            return self.full_ms
        chosen, full = self._times(keep, self._full)
        return self.full_ms * chosen / full
