"""Every two methods, one behind the other: refused with a reason before any work, or right in PyTorch and in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from compressor.errors import RequestError
from compressor.graph.export import export
from compressor.graph.quantized import write_unrounded
from compressor.models import checkpoint as checkpoints
from compressor.models import macs
from compressor.models.kinds.quantizers import unrounded_inputs
from compressor.models.structure import Structure
from compressor.stages.context import Checkpoint
from compressor.stages.registry import STAGES
from compressor.tasks.examples import TextExample
from compressor.training import collate
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, tiny_task

TASK = "text-classification"
QUICK = {"max_steps": 1, "batch_size": 4}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune": ("finetune", QUICK),
    "prune_vocabulary": ("prune_vocabulary", {}),
    "drop_layers": ("drop_layers", {"keep": [0, 2, 3]}),
    "prune_weights": ("prune_weights", {**QUICK, "sparsity": 0.5}),
    "prune_widths": ("prune_widths", {"heads": 0.5, "feed_forward": 0.5, "importance": "magnitude"}),
    "prune_hidden": ("prune_widths", {"hidden": 0.5, "importance": "magnitude"}),
    "dynabert": ("dynabert", {**QUICK, "widths": [1.0, 0.5], "importance": "magnitude"}),
    "distill": ("distill", QUICK),
    "bilstm": ("distill", {**QUICK, "student": {"kind": "bilstm", "layers": 1, "hidden_size": 8, "embedding_size": 8}}),
    "cnn": ("distill", {**QUICK, "student": {"kind": "cnn", "hidden_size": 9, "embedding_size": 8}}),
    "low_rank": ("low_rank", {"ratio": 0.5, "weighting": "none"}),
    "factorize_embeddings": ("factorize_embeddings", {"ratio": 0.5, "weighting": "none"}),
    "share_layers": ("share_layers", {"groups": "pairs"}),
    "squeeze": ("squeeze", QUICK),
    "qat": ("qat", QUICK),
    "length_adaptive": ("length_adaptive", {**QUICK, "sandwich": 1}),
    "deformer": ("deformer", {**QUICK, "layers": 1}),
    "power_bert": ("power_bert", QUICK),
    "adaptive_depth": ("adaptive_depth", {**QUICK, "method": "deebert", "setting": 0.6}),
}
ELSEWHERE = {"take_size": "it needs a model of several sizes: tests/stages/dynabert"}
"""Stages that have no place behind or before any other."""


def test_no_stage_is_left_out() -> None:
    assert {stage for stage, _ in METHODS.values()} | set(ELSEWHERE) == set(STAGES)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """A tiny model after one method, and the model itself for "": each is made once."""
    made: dict[str, Checkpoint] = {}

    def get(method: str) -> Checkpoint:
        if method not in made:
            folder = tmp_path_factory.mktemp(method or "teacher")
            if method:
                made[method] = apply(method, get(""), get(""), folder)
            else:
                made[method] = make_checkpoint(folder, tiny_task(TASK), layers=4)
        return made[method]

    return get


def examples(count: int) -> list[Any]:
    """Pairs of texts of several lengths."""
    rows = make_examples(TASK, count)
    return [
        TextExample(row.text, pair=other.text, labels=row.labels) for row, other in zip(rows, rows[::-1], strict=True)
    ]


def apply(method: str, source: Checkpoint, teacher: Checkpoint, folder: Path) -> Checkpoint:
    """Check and run one method as a recipe does; what was foretold of its shape must come true."""
    name, values = METHODS[method]
    spec = STAGES[name]
    task = tiny_task(TASK)
    settings = spec.load_settings()(**values)
    before, config = checkpoints.read_config(source.path), checkpoints.read_config(teacher.path)
    spec.check_structure(Structure.from_config(before), method)
    spec.check_task(settings, task.name)
    shape = spec.load_shape()
    foretold = shape(before, config, settings) if shape else before
    context = make_context(folder, task, teacher)
    context = replace(context, data=replace(context.data, train=examples(24), calibration=examples(8)))
    context.output.mkdir(parents=True)
    try:
        result = spec.load_run()(source, settings, context)
    except RequestError as error:
        raise AssertionError(f"refused only after the work had begun: {error}") from error
    after = checkpoints.read_config(result.path)
    assert set(Structure.from_config(after).kinds()) == set(Structure.from_config(foretold).kinds())
    if method != "prune_vocabulary":  # how many pieces stay, only the texts tell
        assert macs.parameter_count(after, TASK) == macs.parameter_count(foretold, TASK)
    return result


def agree(source: Checkpoint, folder: Path) -> None:
    """Load, export, and compare PyTorch with ONNX on texts of several lengths in one batch."""
    task = tiny_task(TASK)
    model = checkpoints.load(source.path, task)
    tokenizer = checkpoints.load_tokenizer(source.path)
    inputs, _ = collate(task.features(examples(6), tokenizer, labelled=True), tokenizer, task)
    with torch.no_grad(), unrounded_inputs(model):
        expected: Any = model(**inputs)
    export(source, task, folder / "graph.onnx", opset=17, dial="optional")
    if checkpoints.structure_of(model).quantizers:
        write_unrounded(folder / "graph.onnx", folder / "graph.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "graph.onnx"), options, providers=["CPUExecutionProvider"])
    known = [entry.name for entry in session.get_inputs()]
    found = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in known})
    np.testing.assert_allclose(found[0], expected.logits.numpy(), atol=1e-4, rtol=1e-3)
    if "blocks_run" in expected:
        assert found[1].tolist() == expected.blocks_run.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_alone(method: str, first: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    agree(first(method), tmp_path)


@pytest.mark.parametrize(("before", "behind"), [pair for pair in product(METHODS, METHODS) if pair[0] != pair[1]])
def test_two_methods(before: str, behind: str, first: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    try:
        result = apply(behind, first(before), first(""), tmp_path)
    except RequestError as error:
        assert len(str(error)) > 30  # a sentence that says which and why
        return
    agree(result, tmp_path)
