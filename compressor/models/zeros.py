"""Matrices stored without their zeros: the other numbers in order, and one bit a place that says where they stand.

In a safetensors file `W` becomes `W.nonzero`, float32 [numbers], and `W.places`, uint8 [ceil(rows * columns / 8)]; the
file's metadata has the shapes. A matrix takes 1/32 of its size plus the share of numbers that are not zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

SHAPES = "shapes_of_sparse"
"""The metadata's key: names of sparse matrices with their shapes, as JSON."""
_BIT = 1 / 32
"""What a place costs beside a float32 number."""

Shape = tuple[int, ...]


def parts_of(name: str) -> tuple[str, str]:
    """Names under which the numbers and the places of a sparse matrix stand."""
    return f"{name}.nonzero", f"{name}.places"


def without_zeros(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Float32 matrices that become smaller without their zeros in two parts, the rest as it is; the metadata."""
    parts: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.dtype != torch.float32 or not (tensor == 0).sum() > _BIT * tensor.numel():
            parts[name] = tensor
            continue
        here = (tensor != 0).flatten()
        numbers, places = parts_of(name)
        parts[numbers] = tensor.flatten()[here]
        parts[places] = torch.from_numpy(np.packbits(here.numpy()))
        shapes[name] = list(tensor.shape)
    return parts, {SHAPES: json.dumps(shapes)} if shapes else {}


def shapes_in(metadata: Mapping[str, str] | None) -> dict[str, Shape]:
    """Shapes of the sparse matrices of a file, by its metadata; raises `ValueError` if they are damaged."""
    try:
        found = json.loads((metadata or {}).get(SHAPES, "{}"))
        shapes = {str(name): tuple(int(size) for size in shape) for name, shape in found.items()}
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"its metadata '{SHAPES}' are no shapes") from error
    for name, shape in shapes.items():
        if min(shape, default=0) < 1:
            raise ValueError(f"'{name}' cannot have the shape {list(shape)}")
    return shapes


def with_zeros(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The matrices as they were, with the rest; raises `ValueError` for parts that do not fit each other."""
    whole = dict(tensors)
    for name, shape in shapes.items():
        numbers, bits = (whole.pop(part, None) for part in parts_of(name))
        size = math.prod(shape)
        if numbers is None or bits is None or bits.dtype != torch.uint8 or len(bits) != -(-size // 8):
            raise ValueError(f"the parts of '{name}' do not fit its shape {list(shape)}")
        here = torch.from_numpy(np.unpackbits(bits.numpy(), count=size).astype(bool))
        if int(here.sum()) != len(numbers):
            raise ValueError(f"'{name}' has {len(numbers)} numbers for {int(here.sum())} places")
        tensor = torch.zeros(size, dtype=numbers.dtype)
        tensor[here] = numbers
        whole[name] = tensor.reshape(shape)
    return whole
