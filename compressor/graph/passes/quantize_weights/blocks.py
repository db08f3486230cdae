"""Weights in blocks, as quantizers give them and as ONNX Runtime's `MatMulNBits` stores them. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """The weights [out, in] of one linear layer as unsigned whole numbers.

    A weight is `(integer - zero_point) * scale`; `size` neighbours of a row share zero point and scale. The input is
    multiplied by `input_scale` first, where there is one (AWQ).
    """

    integers: Bytes  # [out, in]
    scales: NDArray[Any]  # [out, blocks], float16 or float32 as the quantizer keeps them
    zero_points: Bytes | None  # [out, blocks]; None: the middle of the range
    bits: int
    size: int
    input_scale: NDArray[np.float32] | None = None  # [in]

    @property
    def middle(self) -> int:
        """The zero point of symmetric weights."""
        return int(2 ** (self.bits - 1))

    def weights(self) -> NDArray[np.float32]:
        """Float32 weights [out, in]."""
        zero = np.full(self.scales.shape, self.middle, np.uint8) if self.zero_points is None else self.zero_points
        columns = self.integers.shape[1]
        shift, scale = (np.repeat(each, self.size, axis=1)[:, :columns] for each in (zero, self.scales))
        return np.asarray((self.integers.astype(np.float32) - shift) * scale.astype(np.float32), dtype=np.float32)


@dataclass(frozen=True)
class Packed:
    """The same as inputs of `MatMulNBits`."""

    weights: Bytes  # [out, blocks, size * bits / 8], the lower half of a byte first
    scales: NDArray[Any]  # [out * blocks]
    zero_points: Bytes | None  # [out * ceil(blocks * bits / 8)]


def pack(blocks: Blocks) -> Packed:
    """Blocks as `MatMulNBits` reads them; the last one is filled up with zero weights."""
    rows, columns = blocks.integers.shape
    count = blocks.scales.shape[1]
    filled = np.full((rows, count * blocks.size), blocks.middle, np.uint8)
    filled[:, :columns] = blocks.integers
    zero = blocks.zero_points
    return Packed(
        weights=_to_bytes(filled, blocks.bits).reshape(rows, count, blocks.size * blocks.bits // 8),
        scales=np.ascontiguousarray(blocks.scales).reshape(-1),
        zero_points=None if zero is None else _to_bytes(zero, blocks.bits).reshape(-1),
    )


def unpack(packed: Packed, *, bits: int, size: int, columns: int) -> Blocks:
    """The way back: `columns` are the layer's inputs."""
    rows, count = packed.weights.shape[:2]
    integers = _from_bytes(packed.weights.reshape(rows, -1), bits)[:, :columns]
    zero = packed.zero_points
    return Blocks(
        integers=np.ascontiguousarray(integers),
        scales=packed.scales.reshape(rows, count),
        zero_points=None if zero is None else _from_bytes(zero.reshape(rows, -1), bits)[:, :count],
        bits=bits,
        size=size,
    )


def _to_bytes(values: Bytes, bits: int) -> Bytes:
    """Rows of numbers below 2**bits, packed; a row of an odd count of half bytes ends with a zero."""
    if bits == 8:
        return values
    even = np.pad(values, ((0, 0), (0, values.shape[1] % 2)))
    return np.asarray(even[:, 0::2] | (even[:, 1::2] << 4), dtype=np.uint8)


def _from_bytes(values: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return values
    return np.stack([values & 15, values >> 4], axis=-1).reshape(values.shape[0], -1)
