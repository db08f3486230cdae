"""A model that keeps two texts apart below, as two graphs: what a passage needs once, and what each question needs.

DeFormer (Cao et al. 2020): the states of a passage behind the lower layers depend on nothing else, so that they can be
computed in advance and kept. Together the two graphs compute what the model's one graph computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from compressor.errors import ExportError
from compressor.graph.export import BATCH, finish
from compressor.graph.files import load
from compressor.graph.linear import split_gemms
from compressor.graph.shared_weights import name_weights_directly
from compressor.graph.tracing import Axes, trace_part
from compressor.models import checkpoint as checkpoints
from compressor.models.families import Family, family_of_model
from compressor.stages.context import Checkpoint
from compressor.tasks.base import Task

PASSAGE, QUESTION = "passage.onnx", "question.onnx"
STATES, STATES_MASK = "passage_states", "passage_mask"
_SECOND_LENGTH, _FIRST_LENGTH, _LENGTH = "passage_length", "question_length", "sequence_length"


class Parts(NamedTuple):
    """The two files."""

    passage: Path
    question: Path


def export_parts(checkpoint: Checkpoint, task: Task, folder: Path, *, opset: int) -> Parts:
    """Write both graphs of a model with `split_layers` into a folder, in float32.

    `passage.onnx`: `input_ids`, `attention_mask`, int64 [batch_size, passage_length], all that stands behind the first
    separator -> `passage_states` [batch_size, passage_length, hidden]. `question.onnx`: the same of the first text, the
    separator included, [batch_size, question_length], with `passage_states` and `passage_mask` (int64 [batch_size,
    passage_length]) -> the task's outputs, over the question's tokens, then the passage's.

    Raises:
        ExportError: The model keeps no texts apart, can stop early or is trained for int8; or the exporter failed.
        CheckpointError: The checkpoint cannot be loaded for this task.
    """
    model: nn.Module = checkpoints.load(checkpoint.path, task)
    structure = checkpoints.structure_of(model)
    if structure.split_layers is None or structure.adaptive_depth is not None or structure.quantizers is not None:
        why = (
            "has exits" if structure.adaptive_depth is not None else "is trained for int8: cut it before the stage qat"
        )
        if structure.split_layers is None:
            why = "keeps no texts apart: train it with the stage deformer"
        raise ExportError(f"{checkpoint.path} cannot be cut into passage and question: it {why}.")
    folder.mkdir(parents=True, exist_ok=True)
    family, below = family_of_model(model), structure.split_layers.layers
    ids = torch.full((2, 5), int(cast(Any, model).config.sep_token_id))
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0
    second: Axes = {0: BATCH, 1: _SECOND_LENGTH}
    part = _Passage(model, family, below)
    states = part(ids, mask)
    parts = Parts(folder / PASSAGE, folder / QUESTION)
    inputs = {"input_ids": ids, "attention_mask": mask}
    axes = {**dict.fromkeys(inputs, second), STATES: second}
    _write(part, parts.passage, inputs, axes, task, family, opset)
    first: Axes = {0: BATCH, 1: _FIRST_LENGTH}
    axes = {**dict.fromkeys(inputs, first), STATES: second, STATES_MASK: second}
    axes |= {name: {0: BATCH, 1: _LENGTH} if task.restores_tokens else {0: BATCH} for name in task.output_names}
    inputs |= {"input_ids": ids[:, :4], "attention_mask": mask[:, :4], STATES: states, STATES_MASK: mask}
    _write(_Question(model, family, below, task), parts.question, inputs, axes, task, family, opset)
    return parts


def _write(
    part: nn.Module,
    target: Path,
    inputs: dict[str, Tensor],
    axes: dict[str, Axes],
    task: Task,
    family: Family,
    opset: int,
) -> None:
    trace_part(part, target, inputs=inputs, axes=axes, opset=opset)
    graph = load(target)
    name_weights_directly(graph.graph)
    split_gemms(graph.graph)
    outputs = {name: each for name, each in axes.items() if name not in inputs}
    finish(graph, target, outputs, {"task": task.name, "family": family.model_type, "part": target.stem})


class _Passage(nn.Module):
    """The lower layers of the second text."""

    def __init__(self, model: nn.Module, family: Family, below: int) -> None:
        super().__init__()
        self.backbone: Any = family.backbone_of(model)
        self.family = family
        self.below = below
        self.side = 1

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States [batch, length, hidden] of a text that sees itself alone."""
        kinds = torch.full_like(input_ids, self.side if self._has_kinds() else 0)
        second = torch.full_like(input_ids, self.side) > 0
        embeddings = getattr(self.backbone, self.family.embeddings)
        states = embeddings(input_ids=input_ids, token_type_ids=kinds, second=second)
        projection = getattr(self.backbone, self.family.projection, None) if self.family.projection else None
        states = states if projection is None else projection(states)
        return cast(Tensor, self.backbone.run_whole(states, attention_mask, range(self.below)))

    def _has_kinds(self) -> bool:
        return self.family.has_token_types and getattr(self.backbone.config, "type_vocab_size", 0) > 1


class _Question(_Passage):
    """The lower layers of the first text, the upper ones of both, and the head."""

    def __init__(self, model: nn.Module, family: Family, below: int, task: Task) -> None:
        super().__init__(model, family, below)
        self.model: Any = model
        self.names = task.output_names
        self.side = 0

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, passage_states: Tensor, passage_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """The task's outputs, [batch, question and passage] or [batch, classes]."""
        first = super().forward(input_ids, attention_mask)
        mask = torch.cat([attention_mask, passage_mask], dim=1)
        layers = range(self.below, len(self.family.layers_of(self.model)))
        last = self.backbone.run_whole(torch.cat([first, passage_states], dim=1), mask, layers)
        pooler = getattr(self.backbone, self.family.pooler, None) if self.family.pooler else None

        def encoded(*_: Any, **__: Any) -> Any:
            return BaseModelOutputWithPooling(
                last_hidden_state=last, pooler_output=pooler(last) if pooler is not None else None
            )

        self.backbone.forward = encoded  # the head stays the stock model's own
        try:
            outputs = self.model.stock_class.forward(self.model, input_ids=input_ids, attention_mask=mask)
        finally:
            del self.backbone.forward
        return tuple(outputs[name] for name in self.names)
