"""What a candidate's time, memory and size come of, counted from its `config.json`. Pure and light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.config.device import NumberFormat
from compressor.config.run import TEXT_TASKS, TaskName
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.set_lengths.settings import configuration
from compressor.models import macs
from compressor.models.config_file import head_outputs
from compressor.models.dial import token_counts
from compressor.models.families import family_of
from compressor.models.kinds.widths import layer_widths
from compressor.models.matrices import FEED_FORWARD, KEY, OUTPUT, QUERY, VALUE, layer_matrices
from compressor.models.structure import Structure
from compressor.tasks.base import Task

INT8 = ("dynamic_int8", "static_int8")
BYTES: Mapping[NumberFormat, int] = {"float32": 4, "float16": 2, "dynamic_int8": 1, "static_int8": 1}


def time_features(
    config: Mapping[str, Any], number_format: NumberFormat, keep: float, *, length: int, batch_size: int, task: TaskName
) -> dict[str, float]:
    """What one call's milliseconds are a sum of, each with a price of its own on a device.

    `linear <format>`: million MACs of products with weights. `attention`: of products of tokens with tokens, and
    `softmax` million numbers that those make. `elements`: million numbers that norms, sums and activations touch;
    `rounding <format>` those that int8 has to round on top. `weights`: megabytes read at every call. `layers`, and
    `drops`: layers that rank and drop tokens, by `ranking` million numbers; `call`: 1. Where a text has one answer and
    the graph is not a stock model's, the last layer goes on with one token behind its attention.
    """
    family, structure = family_of(config), Structure.from_config(config)
    hidden = family.hidden_size(config)
    widths, matrices = layer_widths(config), layer_matrices(config)
    counts = _counts(structure, len(widths), keep, length)
    linear = attention = softmax = elements = rounded = weights = drops = ranked = 0.0
    before = length
    last = len(widths) - 1 if task in TEXT_TASKS and not structure.computes_as_stock else -1
    for layer, (width, parts, kept) in enumerate(zip(widths, matrices, counts, strict=True)):
        inside = sum(parts[part].size for part in (QUERY, KEY, VALUE))
        behind = sum(parts[part].size for part in FEED_FORWARD)
        attended, goes_on = (1, 1) if layer == last else (before, kept)
        linear += before * inside + attended * parts[OUTPUT].size + goes_on * behind
        attention += 2 * before * before * width.attention
        softmax += width.heads * before * before
        elements += 3 * before * width.attention + goes_on * (4 * hidden + width.feed_forward)
        rounded += before * hidden + attended * width.attention + goes_on * (hidden + width.feed_forward)
        weights += inside + parts[OUTPUT].size + behind
        drops += kept < before
        ranked += width.heads * before * before if kept < before else 0
        before = kept
    found = {
        f"linear {number_format}": batch_size * linear / 1e6,
        "attention": batch_size * attention / 1e6,
        "softmax": batch_size * softmax / 1e6,
        "elements": batch_size * (elements + length * hidden) / 1e6,
        "weights": weights * BYTES[number_format] / 1e6,
        "layers": float(len(widths)),
        "drops": drops,
        "ranking": batch_size * ranked / 1e6,
        "call": 1.0,
    }
    if number_format in INT8:
        found[f"rounding {number_format}"] = batch_size * rounded / 1e6
    return found


def memory_features(config: Mapping[str, Any], size_mb: float, *, length: int, batch_size: int) -> dict[str, float]:
    """What peak memory is a sum of, beside the runtime's own: the file, packed weights, the largest activations."""
    widths = layer_widths(config)
    widest = max(width.feed_forward + 3 * width.attention for width in widths)
    pairs = max(width.heads for width in widths) * length * length
    return {"file": size_mb, "activations": batch_size * (length * widest + pairs) * 4 / 1e6, "runtime": 1.0}


def size_parts(config: Mapping[str, Any], number_format: NumberFormat, task: Task | TaskName) -> float:
    """Megabytes of a graph's weights in this number format; what a graph has beside them is not in it.

    int8: a byte a weight of the products and of the word embeddings, with a scale and a zero point a column, or a scale
    a row; everything else stays float32, and so does a head of fewer than `smallest_width` outputs.
    """
    every, words = macs.parameter_count(config, task), macs.word_parameters(config)
    if number_format not in INT8:
        return every * BYTES[number_format] / 1e6
    matrices = [matrix for layer in layer_matrices(config) for matrix in layer.values()]
    name, labels = (task, ()) if isinstance(task, str) else (task.name, task.labels)
    hidden, outputs = family_of(config).hidden_size(config), head_outputs(config, name, labels)
    heads = [hidden] if name in TEXT_TASKS else []
    heads += [outputs] if outputs >= QuantizeSettings().smallest_width else []
    products = sum(matrix.size for matrix in matrices) + hidden * sum(heads)
    columns = sum(matrix.rows for matrix in matrices) + sum(
        heads
    )  # outputs of a linear layer are its product's columns
    rows = words // max(1, family_of(config).embedding_size(config))
    return (products + 5 * columns + words + 4 * rows + 4 * (every - products - words)) / 1e6


def _counts(structure: Structure, layers: int, keep: float, length: int) -> list[int]:
    if structure.length_adaptive is None:
        return [length] * layers
    return token_counts(length, configuration(keep, layers), structure.length_adaptive.minimum)
