"""Do both halves of a graph answer as the whole one does?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import ExportError
from compressor.graph.halves import MASK, STATES, Halves
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class HalvesCheck:
    """Largest |difference| of an output at a real token, and the share of examples that both answer alike."""

    max_abs: float
    same: float
    examples: int


def compare_halves(
    whole: Path, halves: Halves, task: Task, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> HalvesCheck:
    """Run pairs of texts through the whole graph and through its halves, one row at a time, on the CPU provider.

    Raises:
        ExportError: No example is a pair of texts.
    """
    features = task.features(examples, tokenizer, labelled=False)
    separator = tokenizer.sep_token_id
    rows = [feature for feature in features if separator in feature.inputs["input_ids"][:-1]]
    chosen = sorted({row.example for row in rows})
    if not rows:
        raise ExportError("there is no pair of texts in the held-out data to compare both halves of the graph on.")
    run_whole, run_lower, run_upper = (_runner(path) for path in (whole, *halves))

    def together(row: Feature) -> Outputs:
        end = row.inputs["input_ids"].index(separator) + 1
        first, second = (
            run_lower({name: np.asarray([values[part]]) for name, values in row.inputs.items()})[STATES]
            for part in (slice(0, end), slice(end - 1, None))
        )
        states = np.concatenate([first, second[:, 1:]], axis=1)
        outputs: Outputs = run_upper({STATES: states, MASK: np.ones(states.shape[:2], np.int64)})
        return outputs

    expected = [run_whole({name: np.asarray([values]) for name, values in row.inputs.items()}) for row in rows]
    found = [together(row) for row in rows]
    places = {example: place for place, example in enumerate(chosen)}
    own = [Feature(row.inputs, row.labels, places[row.example], row.extra) for row in rows]
    texts = [examples[place] for place in chosen]
    answers = [task.decode(texts, own, [_first(row) for row in outputs]) for outputs in (expected, found)]
    return HalvesCheck(
        max_abs=max(
            float(np.abs(one[name] - other[name]).max())
            for one, other in zip(expected, found, strict=True)
            for name in task.output_names
        ),
        same=float(np.mean([task.same(one, other) for one, other in zip(*answers, strict=True)])),
        examples=len(chosen),
    )


def require_same(check: HalvesCheck, tolerance: float) -> None:
    """Raise `ExportError` for halves of a float32 graph that are further from it than the tolerance."""
    if not check.max_abs <= tolerance:
        raise ExportError(
            f"both halves of the graph together differ from it by {check.max_abs:.2g}, more than parity_tolerance = "
            f"{tolerance:g}: report this, with the recipe."
        )


def _first(outputs: Outputs) -> Outputs:
    return {name: values[0].astype(np.float32) for name, values in outputs.items()}


def _runner(graph: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    known = {node.name for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]

    def run(inputs: Outputs) -> Outputs:
        feed = {name: value for name, value in inputs.items() if name in known}
        return dict(zip(names, session.run(names, feed), strict=True))

    return run
