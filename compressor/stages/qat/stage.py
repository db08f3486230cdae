"""The stage `qat`: fine-tuning with weights and activations rounded to int8 (Jacob et al. 2018; Q8BERT, 2019).

Ranges of activations start from calibration examples and learn by NNCF's gradients; weights are rounded by their
largest number in every row. The model learns from the teacher. The pass `quantize` makes int8 products of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.kinds.quantizers import QuantizedLinear, encoder_linears, make_quantizers, quantized_layers
from compressor.models.structure import Quantizers
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.lesson import lesson
from compressor.stages.distill.student import load_student
from compressor.stages.qat.calibrate import input_ranges, quieting
from compressor.stages.qat.settings import QatSettings
from compressor.stages.qat.shape import shape, structure_of
from compressor.training import task_loss, train

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run(source: Checkpoint, settings: QatSettings, context: StageContext) -> Checkpoint:
    """Train with rounding, and write the float32 weights with the ranges to `context.output`.

    Raises:
        RequestError: No calibration examples, or a teacher that the model cannot learn from.
        CheckpointError: The checkpoint cannot be loaded for the task.
        TrainingError: The loss is no longer a number.
    """
    config = checkpoints.read_config(source.path)
    shape(config, checkpoints.read_config(context.teacher.path), settings)
    losses = settings.losses()
    if losses is None:
        model: nn.Module = checkpoints.load(source.path, context.task)
        tokenizer = checkpoints.load_tokenizer(source.path)
    else:
        model, tokenizer = load_student(source, context)
    _start(model, structure_of(config, settings), settings, tokenizer, context)
    if not settings.dropout:
        without_dropout(model)
    learner, learned = (
        (model, task_loss(context.task)) if losses is None else lesson(model, losses, context, tokenizer=tokenizer)
    )
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(learner, features, context.task, settings, learned, context, tokenizer, title="qat")
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


def without_dropout(model: nn.Module) -> None:
    """Let no unit be dropped in training; `config.json` keeps its rates."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout_prob", None), float):  # of fused attention
            cast(Any, module).dropout_prob = 0.0


def _start(
    model: nn.Module, kind: Quantizers, settings: QatSettings, tokenizer: PreTrainedTokenizerBase, context: StageContext
) -> None:
    """Let the model round, in ranges that calibration examples show; one that rounds already keeps its own."""
    new = [layer for layer in encoder_linears(model) if not isinstance(layer, QuantizedLinear)]
    examples = list(context.data.calibration)[: settings.samples]
    if new and not examples:
        raise RequestError("qat: ranges of activations start from calibration examples: give data.calibration above 0.")
    features = context.task.features(examples, tokenizer, labelled=True)
    dividers = quieting(model, new, features, tokenizer, context) if new and kind.smoothed else None
    ends = input_ranges(model, new, features, settings.percentile, tokenizer, context, dividers) if new else []
    make_quantizers(model, kind)
    for place, (layer, (low, high)) in enumerate(zip(new, ends, strict=True)):
        rounding = cast(QuantizedLinear, layer)
        rounding.input_range.start(low, high)
        if dividers is not None:
            rounding.bring_down(dividers[place].to(rounding.weight.device))
    for layer in quantized_layers(model).values():
        layer.input_range.learning_rate = settings.range_learning_rate
