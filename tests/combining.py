"""Methods as a recipe would ask for them on a tiny model, applied, exported, and compared in PyTorch and ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

from compressor.config.schema import parse
from compressor.errors import RequestError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.files import load, save
from compressor.graph.passes.nodes import all_nodes
from compressor.graph.passes.quantize_weights.carry import carried
from compressor.graph.quantized import write_unrounded
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint as checkpoints
from compressor.models import macs
from compressor.models.kinds.quantizers import unrounded_inputs
from compressor.models.structure import Structure
from compressor.progress import Silent
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.registry import STAGES
from compressor.tasks.examples import TextExample
from compressor.training import collate
from tests.stages.distill.conftest import (
    WORDS,
    make_checkpoint,
    make_context,
    make_examples,
    make_tokenizer,
    model_config,
    tiny_task,
)

TASK = "text-classification"
QUICK = {"max_steps": 1, "batch_size": 4}
SIZES = {**QUICK, "widths": [1.0, 0.5], "depths": [1.0, 0.5], "importance": "magnitude"}
Method = list[tuple[str, dict[str, Any]]]
"""Stages in order, each with its settings."""
METHODS: dict[str, Method] = {
    "finetune": [("finetune", QUICK)],
    "prune_vocabulary": [("prune_vocabulary", {})],
    "drop_layers": [("drop_layers", {"keep": "both_ends"})],
    "prune_weights": [("prune_weights", {**QUICK, "sparsity": 0.5})],
    "prune_widths": [("prune_widths", {"heads": 0.5, "feed_forward": 0.5, "importance": "magnitude"})],
    "prune_hidden": [("prune_widths", {"hidden": 0.5, "importance": "magnitude"})],
    "dynabert": [("dynabert", {**SIZES, "depths": [1.0]})],
    "take_size": [("dynabert", {**SIZES, "hidden": 0}), ("take_size", {"width": 0.5, "depth": 0.5})],
    "distill": [("distill", QUICK)],
    "bilstm": [("distill", {**QUICK, "student": {"kind": "bilstm", "hidden_size": 64, "embedding_size": 32}})],
    "cnn": [("distill", {**QUICK, "student": {"kind": "cnn", "hidden_size": 63, "embedding_size": 32}})],
    "low_rank": [("low_rank", {"ratio": 0.5, "weighting": "none"})],
    "factorize_embeddings": [("factorize_embeddings", {"ratio": 0.5, "weighting": "none"})],
    "share_layers": [("share_layers", {"groups": "pairs"})],
    "squeeze": [("squeeze", QUICK)],
    "qat": [("qat", QUICK)],
    "length_adaptive": [("length_adaptive", {**QUICK, "sandwich": 1})],
    "deformer": [("deformer", {**QUICK, "layers": 1})],
    "power_bert": [("power_bert", QUICK)],
    "adaptive_depth": [("adaptive_depth", {**QUICK, "method": "deebert", "setting": 0.6})],
}
"""One choice of settings for every stage; take_size has no place but behind a dynabert."""
VARIANTS: dict[str, Method] = {
    "movement": [("prune_weights", {**QUICK, "method": "movement", "sparsity": 0.5})],
    "soft_movement": [("prune_weights", {**QUICK, "method": "soft_movement", "sparsity": 0.5})],
    "pruned_embeddings": [("prune_weights", {**QUICK, "sparsity": 0.5, "embeddings": True})],
    "dact": [("adaptive_depth", {**QUICK, "method": "dact", "setting": 0.9})],
    "pabee": [("adaptive_depth", {**QUICK, "method": "pabee", "setting": 1})],
    "rank_by_energy": [("low_rank", {"energy": 0.6, "weighting": "data"})],
    "rank_by_fisher": [("low_rank", {"ratio": 0.4, "weighting": "fisher"})],
    "fewer_layers": [("drop_layers", {"keep": "importance", "layers": 3, "samples": 8})],
    "dynabert_depths": [("dynabert", SIZES)],
    "uneven_widths": [("prune_widths", {"heads": 0.6, "feed_forward": 0.5, "uneven": True, "samples": 8})],
    "first_token_ranks": [("length_adaptive", {**QUICK, "sandwich": 1, "significance": "first"})],
}
"""Other settings of the same stages, tried with a few partners."""
TOLD_BY_THE_DATA = ("prune_vocabulary", "rank_by_energy", "uneven_widths")
"""Methods of which `plan` cannot know how many weights they leave."""


def examples(count: int) -> list[Any]:
    """Pairs of texts of several lengths."""
    rows = make_examples(TASK, count)
    return [
        TextExample(row.text, pair=other.text, labels=row.labels) for row, other in zip(rows, rows[::-1], strict=True)
    ]


def tiny_teacher(folder: Path) -> Checkpoint:
    """A model of four layers with random weights."""
    return make_checkpoint(folder, tiny_task(TASK), layers=4)


def wide_teacher(folder: Path) -> Checkpoint:
    """Two layers, wide enough for few bits to pay, with weights so large that texts get different answers."""
    words = [*WORDS, *(f"x{number}" for number in range(600))]
    config = {**model_config("bert", 2, 96, 4), "vocab_size": len(words) + 5}
    model = checkpoints.build(config, tiny_task(TASK))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(20 if "embeddings" in name else 5)
    checkpoints.save(model, make_tokenizer(words), folder)
    return Checkpoint(folder, folder.name)


def apply(method: str, source: Checkpoint, teacher: Checkpoint, folder: Path) -> Checkpoint:
    """Check and run the stages of a method as a recipe does; what was foretold of their shapes must come true."""
    for name, values in (METHODS | VARIANTS)[method]:
        source = _stage(name, values, source, teacher, folder / name, exact=method not in TOLD_BY_THE_DATA)
    return source


def _stage(
    name: str, values: dict[str, Any], source: Checkpoint, teacher: Checkpoint, folder: Path, *, exact: bool
) -> Checkpoint:
    spec, task = STAGES[name], tiny_task(TASK)
    settings = parse(spec.load_settings(), values, where=name)
    before, config = checkpoints.read_config(source.path), checkpoints.read_config(teacher.path)
    spec.check_structure(Structure.from_config(before), name)
    spec.check_task(settings, task.name)
    foretold = spec.load_shape()(before, config, settings)
    context = _context(folder, teacher)
    context.output.mkdir(parents=True)
    try:
        result = spec.load_run()(source, settings, context)
    except RequestError as error:
        raise AssertionError(f"refused only after the work had begun: {error}") from error
    after = checkpoints.read_config(result.path)
    assert set(Structure.from_config(after).kinds()) == set(Structure.from_config(foretold).kinds())
    assert ("elastic" in after) == ("elastic" in foretold)
    if exact:
        assert macs.parameter_count(after, TASK) == macs.parameter_count(foretold, TASK)
    return result


def _context(folder: Path, teacher: Checkpoint) -> StageContext:
    context = make_context(folder, tiny_task(TASK), teacher)
    return replace(context, data=replace(context.data, train=examples(24), calibration=examples(8)))


class Exported:
    """A checkpoint, its graph, and what both answer to texts of several lengths in one batch."""

    def __init__(self, source: Checkpoint, folder: Path) -> None:
        self.task = tiny_task(TASK)
        self.source, self.folder = source, folder
        self.model: Any = checkpoints.load(source.path, self.task)
        self.tokenizer = checkpoints.load_tokenizer(source.path)
        features = self.task.features(examples(6), self.tokenizer, labelled=True)
        self.inputs, _ = collate(features, self.tokenizer, self.task)
        self.graph, self.fused = folder / "graph.onnx", folder / "fuse-graph.onnx"
        export(source, self.task, self.graph, opset=17, dial="optional")

    @property
    def rounds(self) -> bool:
        """Whether the model was trained for int8, so that its graph rounds inputs."""
        return checkpoints.structure_of(self.model).quantizers is not None

    def in_pytorch(self) -> Any:
        """The model's outputs, of one trained for int8 without rounding inputs."""
        with torch.no_grad(), unrounded_inputs(self.model):
            return self.model(**self.inputs)

    def unrounded(self, graph: Path) -> Path:
        """The graph as PyTorch computes here."""
        if not self.rounds:
            return graph
        target = graph.with_name(f"unrounded-{graph.name}")
        write_unrounded(graph, target)
        return target

    def run(self, graph: Path) -> list[np.ndarray]:
        """Outputs of a graph."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        known = [entry.name for entry in session.get_inputs()]
        return list(session.run(None, {name: value.numpy() for name, value in self.inputs.items() if name in known}))

    def after(self, name: str, source: Path, **values: Any) -> tuple[Path, dict[str, Any]]:
        """The graph after a pass, and what the pass notes."""
        context = _context(self.folder / name, self.source)
        given = PassContext(
            task=self.task, data=context.data, tokenizer=self.tokenizer, checkpoint=self.source, device=context.device,
            seed=0, progress=Silent(),
        )  # fmt: skip
        spec = pass_spec(name)
        settings = parse(spec.load_settings(), values, where=name)
        result = run_pass(spec, source, source.with_name(f"{name}-{source.name}"), settings, given)
        return result.path, dict(result.notes)


def agree(source: Checkpoint, folder: Path) -> Exported:
    """Load, export and fuse a checkpoint; PyTorch and both graphs must say the same."""
    exported = Exported(source, folder)
    expected = exported.in_pytorch()
    exported.after("fuse", exported.graph)
    for graph in (exported.graph, exported.fused):
        found = exported.run(exported.unrounded(graph))
        np.testing.assert_allclose(found[0], expected.logits.numpy(), atol=1e-4, rtol=1e-3)
        if "blocks_run" in expected:
            assert found[1].tolist() == expected.blocks_run.tolist()
    return exported


def with_plain_weights(graph: Path) -> Path:
    """The graph whose products multiply by what weights of few bits stand for, as float32 numbers."""
    model, target = load(graph), graph.with_name(f"plain-{graph.name}")
    blocks = carried(model)
    for node in all_nodes(model):
        if node.op_type == "MatMulNBits":
            weights = np.ascontiguousarray(blocks[node.name].weights().T)
            model.graph.initializer.append(numpy_helper.from_array(weights, f"{node.name}/plain"))
            node.CopyFrom(onnx.helper.make_node("MatMul", [node.input[0], f"{node.name}/plain"], node.output))
    save(model, target)
    return target
