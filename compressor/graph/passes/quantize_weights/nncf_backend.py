"""Weights rounded to nearest by NNCF, one product a weight in a graph made for it alone.

NNCF itself replaces products of a whole graph, but not those in the branches of an If; so it is given the weights,
and what it makes of them is carried over like that of any other quantizer.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import PassError
from compressor.graph.passes.quantize_weights.blocks import Blocks
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.quiet import load_nncf

_OPSET, _IR = 21, 10  # the first with blocks in DequantizeLinear


def nncf_blocks(weights: Mapping[str, NDArray[np.float32]], settings: QuantizeWeightsSettings) -> dict[str, Blocks]:
    """NNCF's integers, scales and zero points of weights [in, out], by their names.

    Four bits have a scale a block, eight bits one a column. Raises `PassError` if NNCF fails.
    """
    nncf = load_nncf()
    kind = "SYM" if settings.symmetric else "ASYM"
    options: dict[str, Any] = {"mode": getattr(nncf.CompressWeightsMode, f"INT{settings.bits}_{kind}")}
    if settings.bits == 4:
        options |= {"group_size": settings.block_size, "all_layers": True, "ratio": 1.0}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model = nncf.compress_weights(_products(weights, settings.block_size), **options)
    except (RuntimeError, ValueError, LookupError, nncf.InternalError, nncf.ValidationError) as error:
        raise PassError(f"quantize_weights: NNCF failed: {error}; use backend: neural_compressor.") from error
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        name: _blocks(tensors, f"w{index}", array.shape[0], settings)
        for index, (name, array) in enumerate(weights.items())
    }


def _products(weights: Mapping[str, NDArray[np.float32]], size: int) -> onnx.ModelProto:
    """A graph of one MatMul for each of the weights, whose rows are filled up to whole blocks."""
    nodes, inputs, outputs, tensors = [], [], [], []
    for index, array in enumerate(weights.values()):
        filled = np.pad(array, ((0, -array.shape[0] % size), (0, 0)))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"y{index}"], name=f"product{index}"))
        inputs.append(helper.make_tensor_value_info(f"x{index}", TensorProto.FLOAT, ["n", filled.shape[0]]))
        outputs.append(helper.make_tensor_value_info(f"y{index}", TensorProto.FLOAT, ["n", filled.shape[1]]))
        tensors.append(numpy_helper.from_array(filled, f"w{index}"))
    graph = helper.make_graph(nodes, "weights", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _blocks(tensors: Mapping[str, NDArray[Any]], name: str, columns: int, settings: QuantizeWeightsSettings) -> Blocks:
    """What NNCF made of one weight [in, out], the other way round."""
    count = -(-columns // settings.block_size)
    shift = 2 ** (settings.bits - 1) if settings.symmetric else 0
    integers = tensors[f"{name}_quantized"].astype(np.int16).T[:, :columns] + shift

    def of_blocks(values: NDArray[Any]) -> NDArray[Any]:
        by_row = np.atleast_2d(values).T  # [out, blocks], or [out, 1] with one scale a column
        return np.ascontiguousarray(np.broadcast_to(by_row, (by_row.shape[0], count)))

    zero = tensors.get(f"{name}_zero_point")
    return Blocks(
        integers=np.ascontiguousarray(integers.astype(np.uint8)),
        scales=of_blocks(tensors[f"{name}_scale"].astype(np.float32)),
        zero_points=None if zero is None else of_blocks(zero.astype(np.uint8)),
        bits=settings.bits,
        size=settings.block_size,
    )
