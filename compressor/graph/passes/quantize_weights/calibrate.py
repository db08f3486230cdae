"""GPTQ and AWQ of the checkpoint behind a graph, and which of its layers each weight of the graph is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compressor.errors import PassError, RequestError
from compressor.graph.context import PassContext
from compressor.graph.passes.batches import TOKENS
from compressor.graph.passes.quantize_weights.blocks import Blocks
from compressor.graph.passes.quantize_weights.neural_compressor_backend import calibrated
from compressor.graph.passes.quantize_weights.requirements import check_structure
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.graph.passes.windows import Windows
from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.structure import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def calibrated_weights(
    weights: Mapping[str, NDArray[np.float32]], settings: QuantizeWeightsSettings, context: PassContext
) -> dict[str, Blocks]:
    """The graph's weights [in, out] as GPTQ or AWQ leave them, by their names in the graph.

    The quantizers work on the checkpoint, whose layers are found in the graph by their values (names may have changed
    there, and most weights are transposed). Weights outside of the encoder's layers are not among them.

    Raises:
        RequestError: There is no calibration data, or the model's layers do not run one by one.
        PassError: The quantizer failed, or none of its layers is in the graph.
    """
    check_structure(settings, Structure.from_config(checkpoints.read_config(context.checkpoint.path)))
    examples = context.data.calibration[: settings.samples]
    if not examples:
        raise RequestError(
            f"quantize_weights: {settings.method} needs calibration data; it is a part of the training data, and "
            "there is none: give data.train and data.calibration above 0, or use method: rtn."
        )
    model = checkpoints.load_without_dials(context.checkpoint.path, context.task)
    segments = family_of_model(model).reads_segments(getattr(model.config, "type_vocab_size", None))
    names = [name for name in TOKENS if segments or name != "token_type_ids"]
    windows = Windows(context.task, context.tokenizer, examples, names, settings.batch_size)
    batches = [{name: torch.from_numpy(rows) for name, rows in feed.items()} for feed in windows.feeds]
    by_value: dict[str, list[str]] = {}
    for name, array in weights.items():
        by_value.setdefault(_value(array), []).append(name)
    layers = _layers(model, settings, set(by_value))
    if not layers:
        raise PassError(
            "quantize_weights: none of the checkpoint's layers is in the graph as it is there: use method: rtn."
        )
    context.progress.line(f"quantize_weights: {settings.method} on {len(batches)} batches.")
    found = calibrated(model, layers, batches, settings, context.checkpoint.path)
    return {name: found[layer] for layer, value in layers.items() for name in by_value[value]}


def _layers(model: PreTrainedModel, settings: QuantizeWeightsSettings, wanted: set[str]) -> dict[str, str]:
    """Linear layers of the encoder's layers that the graph has, by name, with their values."""
    encoder = family_of_model(model).layers_of(model)
    inside = {id(module) for module in encoder.modules()}
    return {
        name: value
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
        for value in [_value(module.weight.detach().numpy().T)]
        if value in wanted
    }


def _value(matrix: NDArray[np.float32]) -> str:
    """A name for the content of weights [in, out]."""
    return f"{matrix.shape}{hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).hexdigest()}"
