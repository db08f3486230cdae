"""What the finished graph of a model will hold, from its `config.json` and the passes: products, and bytes of weights.

Imports nothing heavy: `plan` asks before there is a graph. Nodes are not counted, nor the exits of adaptive depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compressor.config.device import DeviceProfile
from compressor.config.run import TEXT_TASKS, TaskName
from compressor.config.runtime import fuse_layout, has_attention
from compressor.graph.passes.quantize.scheme import Scheme, resolve
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.models import macs
from compressor.models.config_file import head_outputs
from compressor.models.families import family_of
from compressor.models.matrices import KEY, QUERY, VALUE, layer_matrices
from compressor.models.structure import Recurrent, Structure

FLOAT = 4
"""Bytes of a number that no pass changes."""


@dataclass(frozen=True)
class ExpectedProduct:
    """Constant weights [rows, columns] by which a node multiplies its input [..., rows]."""

    op_type: Literal["MatMul", "Attention", "LSTM"]
    rows: int
    columns: int
    in_layer: bool  # of the encoder's layers

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Expected:
    """A model, and what is to become of its graph; `passes` are names with their settings, in order."""

    config: Mapping[str, Any]
    task: TaskName
    passes: Sequence[tuple[str, Any]]
    device: DeviceProfile
    opset: int

    def bytes(self) -> float:
        """Bytes of the weights in the finished graph."""
        count = macs.parameter_count(self.config, self.task)
        for name, settings in self.passes:
            scheme = resolve(settings, self.device) if name == "quantize" else None
            if name == "cast" or (scheme and scheme.mode == "float16" and not self._trained):
                return 2.0 * count
            if name == "quantize_weights" or (scheme and (scheme.mode != "none" or self._trained)):
                return self._quantized_bytes(count, scheme, settings)
        return float(FLOAT * count)

    def quantized(self, scheme: Scheme | None, settings: Any) -> list[ExpectedProduct]:
        """The products that become int8 by a `scheme`, or of few bits (None); `exclude` is not foreseen."""
        if self._trained:
            return [product for product in self.products() if product.in_layer]
        dynamic = scheme is not None and scheme.mode == "dynamic"
        kinds = {"MatMul", "Attention", "LSTM"} if dynamic else {"MatMul"}
        asked = set(settings.op_types) if scheme else {"MatMul"}
        return [
            product
            for product in self.products()
            if product.op_type in kinds
            and (product.op_type in asked or (product.op_type == "MatMul" and "Gemm" in asked))
            and min(product.rows, product.columns) >= settings.smallest_width
        ]

    def products(self) -> list[ExpectedProduct]:
        """All products with constant weights; those of layers that share weights once."""
        return [*self._in_layers(), *self._around_layers()]

    @property
    def embeddings_found(self) -> bool:
        """Whether the word embeddings are looked up by a node of their own, as few bits for them demand."""
        return not self._merged or family_of(self.config).model_type == "roberta"

    def _quantized_bytes(self, count: int, scheme: Scheme | None, settings: Any) -> float:
        few = self.quantized(scheme, settings)
        words, width = self._table()
        rest = count - sum(product.size for product in few) - words * width
        sizes = [_int8_bytes(product, scheme) if scheme else _block_bytes(product, settings) for product in few]
        return FLOAT * rest + sum(sizes) + self._table_bytes(settings)

    def _table(self) -> tuple[int, int]:
        """Rows and columns of the word embeddings; factorized ones are a narrow table and a product."""
        words, factorized = int(self.config["vocab_size"]), self._structure.embedding_rank
        return words, factorized.rank if factorized else macs.word_parameters(self.config) // words

    def _table_bytes(self, settings: Any) -> float:
        words, width = self._table()
        asked = settings.embeddings
        if asked == "int4":
            return words * (width / 2 + 4 * (width // 32 if width % 32 == 0 else 1))  # a scale each 32, or each row
        if asked == "int8" or (asked == "auto" and self.embeddings_found):
            return words * (width + 4.0)
        return float(words * width * FLOAT)

    def _in_layers(self) -> Iterator[ExpectedProduct]:
        family, other = family_of(self.config), self._structure.other_encoder
        hidden = family.hidden_size(self.config)
        if isinstance(other, Recurrent):
            half = hidden // 2
            first = self._embedding_width if family.embedding_size(self.config) == hidden else hidden
            for layer in range(other.layers):
                reads = first if layer == 0 else hidden
                for rows in (reads, half, reads, half):  # the input and the state of each direction
                    yield ExpectedProduct("LSTM", rows, 4 * half, in_layer=True)
        if other is not None:
            return
        merged = self._merged and family.model_type != "distilbert"
        seen: set[str] = set()
        for parts in layer_matrices(self.config):
            for part, matrix in parts.items():
                kind: Literal["Attention", "MatMul"] = (
                    "Attention" if merged and part in (QUERY, KEY, VALUE) else "MatMul"
                )
                if matrix.name in seen:
                    continue
                seen.add(matrix.name)
                inner = [matrix.rank] if matrix.rank else []
                for rows, columns in zip([matrix.columns, *inner], [*inner, matrix.rows], strict=True):
                    yield ExpectedProduct(kind, rows, columns, in_layer=True)

    def _around_layers(self) -> Iterator[ExpectedProduct]:
        family, factorized = family_of(self.config), self._structure.embedding_rank
        hidden, width = family.hidden_size(self.config), self._embedding_width
        sizes = [(factorized.rank, width)] if factorized else []
        if family.embedding_size(self.config) != hidden:
            sizes.append((width, hidden))
        if self.task in TEXT_TASKS:
            sizes.append((hidden, hidden))
        sizes.append((hidden, head_outputs(self.config, self.task)))
        for rows, columns in sizes:
            yield ExpectedProduct("MatMul", rows, columns, in_layer=False)

    @property
    def _embedding_width(self) -> int:
        words, factorized = int(self.config["vocab_size"]), self._structure.embedding_rank
        numbers = macs.word_parameters(self.config)
        return numbers // factorized.rank - words if factorized else numbers // words

    @property
    def _structure(self) -> Structure:
        return Structure.from_config(self.config)

    @property
    def _trained(self) -> bool:
        """Whether the stage `qat` has decided what is int8."""
        return self._structure.quantizers is not None

    @property
    def _merged(self) -> bool:
        """Whether `fuse` has ONNX Runtime merge the attention's products, and the embeddings, as for GPUs."""
        fuse = next((settings for name, settings in self.passes if name == "fuse"), None)
        if fuse is None or not self._structure.computes_as_stock:
            return False
        layout = fuse_layout(self.device, self.opset) if fuse.layout == "auto" else fuse.layout
        plain = family_of(self.config).model_type == "distilbert" and not has_attention(self.device)
        return bool(layout == "onnxruntime" and not plain)


def _int8_bytes(product: ExpectedProduct, scheme: Scheme) -> float:
    """A byte a weight; a float32 scale and a zero point for each column, or for all."""
    return product.size + 5 * (product.columns if scheme.per_channel else 1)


def _block_bytes(product: ExpectedProduct, settings: QuantizeWeightsSettings) -> float:
    """Whole blocks of integers, each with a scale (of NNCF float32, else float16) and perhaps a zero point."""
    blocks = product.columns * -(-product.rows // settings.block_size)
    scale = 4 if settings.backend == "nncf" else 2
    zero_point = 0 if settings.symmetric else settings.bits / 8
    return blocks * (settings.block_size * settings.bits / 8 + scale + zero_point)
