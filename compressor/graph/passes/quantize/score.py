"""The task's metric of a candidate graph, for accuracy control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from compressor.errors import RequestError
from compressor.graph.context import PassContext
from compressor.graph.passes.quantize.calibration import full_length
from compressor.graph.passes.session import open_session
from compressor.graph.passes.windows import Windows


class Scorer:
    """Scores ONNX models on the search part of the data, or on the calibration part if that is empty."""

    def __init__(self, context: PassContext, folder: Path) -> None:
        self.part = "search" if context.data.search else "calibration"
        self.examples = context.data.part(self.part)
        self.metric = context.task.metric_names[0]
        self._context = context
        self._path = folder / "candidate.onnx"
        self._windows: dict[tuple[int, ...], Windows] = {}
        if not self.examples:
            raise RequestError("quantize: max_drop needs data to measure the drop on: give data.train.")

    def points(self, model: onnx.ModelProto, indices: Sequence[int]) -> tuple[float, list[float]]:
        """The primary metric in points over the examples `indices`, and each example's own score."""
        onnx.save(model, self._path)
        session = open_session(self._path, self._context.device)
        self._path.unlink()
        windows = self._on(tuple(indices), [entry.name for entry in session.get_inputs()])
        predictions = windows.predictions(session, full_length(model))
        task = self._context.task
        scores = task.score(windows.examples, predictions)
        return scores[self.metric], task.example_scores(windows.examples, predictions).tolist()

    def _on(self, indices: tuple[int, ...], inputs: Sequence[str]) -> Windows:
        if indices not in self._windows:
            examples = [self.examples[index] for index in indices]
            self._windows[indices] = Windows(self._context.task, self._context.tokenizer, examples, inputs, 8)
        return self._windows[indices]
