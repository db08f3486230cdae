"""Multiply-accumulates and parameters of a model at a length configuration. Imports nothing heavy.

MACs as the Length-Adaptive Transformer counts them (what its tables call GFLOPS): with l_0 the input length, l_i the
tokens that layer i keeps, H the hidden and I the feed-forward size,

    sum_i [4 l_{i-1} H^2 + 2 l_{i-1}^2 H + 2 l_i H I] + one for each element of each LayerNorm + the head.

Where the first token's attention alone ranks the others, only the l_i tokens that stay attend and are projected:
(3 l_{i-1} + l_i) H^2 + 2 l_{i-1} l_i H. (The ranking, a product of the keys with one query a head, is not counted.)
Layers of other widths and products of two smaller matrices count as what they are, and shared weights are stored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.config.run import TEXT_TASKS, TaskName
from compressor.errors import DialError
from compressor.models import encoder_size
from compressor.models.config_file import head_outputs
from compressor.models.dial import keep_from_counts, token_counts, validate_keep
from compressor.models.families import Family, family_of
from compressor.models.kinds.widths import layer_widths
from compressor.models.matrices import FEED_FORWARD, KEY, OUTPUT, QUERY, VALUE, layer_matrices
from compressor.models.structure import Structure
from compressor.tasks.base import Task

__all__ = ["count", "keep_from_counts", "parameter_count", "token_counts", "validate_keep", "word_parameters"]


def count(
    config: Mapping[str, Any],
    structure: Structure,
    *,
    length: int,
    keep: Sequence[float] | None = None,
    counts: Sequence[int] | None = None,
    blocks: int | None = None,
    task: Task | TaskName,
) -> int:
    """MACs of one input of `length` real tokens.

    Args:
        config: The `config.json` of the checkpoint.
        structure: Its structure; a model that is not length-adaptive always runs at full length.
        length: Tokens of the input.
        keep: Length configuration; None: the structure's default.
        counts: Tokens that each layer keeps, instead of `keep`.
        blocks: Layers that run, of a model that stops early; None: all. (Exits are not counted.)
        task: The task, or its name; decides the head.

    Raises:
        DialError: `keep` or `counts` do not fit the model.
    """
    family = family_of(config)
    hidden = family.hidden_size(config)
    embedding = encoder_size.embedding_width(config)
    total = length * embedding  # LayerNorm
    if structure.embedding_rank is not None:
        total += length * structure.embedding_rank.rank * embedding
    if family.embedding_size(config) != hidden:
        total += length * embedding * hidden
    if structure.other_encoder is not None:
        reads = embedding if family.embedding_size(config) == hidden else hidden
        total += length * encoder_size.macs_of_a_token(structure.other_encoder, reads, hidden)
        return total + _head_macs(config, family, length, task)
    by_first = structure.length_adaptive is not None and structure.length_adaptive.significance == "first"
    before = length
    widths, matrices = layer_widths(config), layer_matrices(config)
    tokens = _kept(len(widths), structure, length, keep, counts)
    for width, parts, kept in list(zip(widths, matrices, tokens, strict=True))[:blocks]:
        attending = kept if by_first else before
        total += before * sum(parts[part].size for part in (QUERY, KEY, VALUE)) + attending * parts[OUTPUT].size
        total += 2 * before * attending * width.attention
        total += kept * sum(parts[part].size for part in FEED_FORWARD)
        total += (before + kept) * hidden  # LayerNorms
        before = kept
    return total + _head_macs(config, family, length, task)


def parameter_count(config: Mapping[str, Any], task: Task | TaskName) -> int:
    """Number of weights of the model that a `config.json` describes, the task's head included (exits are not)."""
    family = family_of(config)
    hidden = family.hidden_size(config)
    embedding = encoder_size.embedding_width(config)
    rows = int(config["max_position_embeddings"])
    if family.has_token_types:
        rows += int(config.get("type_vocab_size", 2))
    total = word_parameters(config) + rows * embedding + 2 * embedding
    if family.embedding_size(config) != hidden:
        total += embedding * hidden + hidden
    structure = Structure.from_config(config)
    other = structure.other_encoder
    if other is not None:
        total += encoder_size.weights(other, embedding if family.embedding_size(config) == hidden else hidden, hidden)
    seen: set[str] = set()
    for width, parts in zip(layer_widths(config), layer_matrices(config), strict=True) if other is None else ():
        if parts[QUERY].name not in seen:
            total += sum(matrix.size for matrix in parts.values())
            total += 3 * width.attention + hidden + width.feed_forward + hidden + 2 * 2 * hidden  # biases, LayerNorms
            if structure.quantizers is not None:  # the two ends of the inputs' range
                total += sum(2 if matrix.rank is None else 4 for matrix in parts.values())
        seen.add(parts[QUERY].name)
    outputs = _outputs(config, task)
    total += hidden * outputs + outputs
    return total + (hidden * hidden + hidden if _name(task) in TEXT_TASKS else 0)


def word_parameters(config: Mapping[str, Any]) -> int:
    """Number of weights of the word embeddings."""
    words, width = int(config["vocab_size"]), encoder_size.embedding_width(config)
    factorized = Structure.from_config(config).embedding_rank
    return words * width if factorized is None else factorized.rank * (words + width)


def _kept(
    layers: int, structure: Structure, length: int, keep: Sequence[float] | None, counts: Sequence[int] | None
) -> list[int]:
    adaptive = structure.length_adaptive
    if adaptive is None:
        if keep is not None or counts is not None:
            raise DialError("the model is not length-adaptive: it has no length configuration.")
        return [length] * layers
    if counts is None:
        keep = adaptive.keep if keep is None else keep
        validate_keep(keep, layers)
        return token_counts(length, keep, adaptive.minimum)
    if len(counts) != layers:
        raise DialError(f"counts has {len(counts)} entries, the model has {layers} layers: give one a layer.")
    return list(counts)


def _head_macs(config: Mapping[str, Any], family: Family, length: int, task: Task | TaskName) -> int:
    hidden, outputs = family.hidden_size(config), _outputs(config, task)
    if _name(task) in TEXT_TASKS:
        return hidden * hidden + hidden * outputs
    return length * hidden * outputs


def _outputs(config: Mapping[str, Any], task: Task | TaskName) -> int:
    return head_outputs(config, _name(task), () if isinstance(task, str) else task.labels)


def _name(task: Task | TaskName) -> TaskName:
    return task if isinstance(task, str) else task.name
