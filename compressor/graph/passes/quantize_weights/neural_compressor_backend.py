"""Weights by Intel Neural Compressor's PyTorch quantizers: RTN, GPTQ (Frantar et al. 2022), AWQ (Lin et al. 2023).

It has no way to ONNX: its layers `INCWeightOnlyLinear` are unpacked, and their numbers carried over as they are.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.errors import PassError
from compressor.graph.passes.quantize_weights.blocks import Blocks
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings


def rounded(weights: Mapping[str, NDArray[np.float32]], settings: QuantizeWeightsSettings) -> dict[str, Blocks]:
    """Weights [in, out] rounded to nearest, by their names."""
    model = nn.Module()
    for index, array in enumerate(weights.values()):
        linear = nn.Linear(array.shape[0], array.shape[1], bias=False)
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(array.T))
        model.add_module(f"linear{index}", linear)
    found = _quantized(model, {f"linear{index}" for index in range(len(weights))}, settings, [], Path())
    return {name: found[f"linear{index}"] for index, name in enumerate(weights)}


def calibrated(
    model: nn.Module,
    layers: Collection[str],
    batches: Sequence[Mapping[str, Tensor]],
    settings: QuantizeWeightsSettings,
    folder: Path,
) -> dict[str, Blocks]:
    """GPTQ or AWQ of the linear layers `layers` of a task model, by their names.

    Args:
        model: A model whose encoder layers run by themselves, in eval mode. It is changed.
        layers: Dotted names of linear layers inside the encoder's layers.
        batches: Inputs by name, [batch, length] each.
        settings: What is asked for.
        folder: The checkpoint's; Neural Compressor wants to know it.
    """
    return _quantized(model, layers, settings, batches, folder)


def _quantized(
    model: nn.Module,
    layers: Collection[str],
    settings: QuantizeWeightsSettings,
    batches: Sequence[Mapping[str, Tensor]],
    folder: Path,
) -> dict[str, Blocks]:
    with _quiet():
        from neural_compressor.torch.algorithms.weight_only.modules import INCWeightOnlyLinear, MulLinear
        from neural_compressor.torch.quantization import convert, prepare

        config = _config(model, layers, settings, folder)
        example = {"example_inputs": batches[0]["input_ids"]} if batches else {}
        try:
            with torch.no_grad():
                prepared = prepare(model, config, **example)
                for batch in batches:
                    prepared(**batch)
                result = convert(prepared)
        except Exception as error:  # its algorithms raise whatever the model makes them raise
            raise PassError(
                f"quantize_weights: Neural Compressor's {settings.method} failed on {type(model).__name__}: "
                f"{error or type(error).__name__}; use method: rtn."
            ) from error
        found: dict[str, Blocks] = {}
        scaled = {
            id(module.linear): module.input_scale
            for _, module in result.named_modules()
            if isinstance(module, MulLinear)
        }
        for name, module in result.named_modules():
            if isinstance(module, INCWeightOnlyLinear):
                scale = scaled.get(id(module))
                found[name.removesuffix(".linear") if scale is not None else name] = _blocks(module, scale)
    missing = [name for name in layers if name not in found]
    if missing:
        raise PassError(
            f"quantize_weights: Neural Compressor's {settings.method} left {len(missing)} of {len(layers)} layers as "
            f"they were, first '{missing[0]}': exclude them, or use method: rtn."
        )
    return found


def _config(model: nn.Module, layers: Collection[str], settings: QuantizeWeightsSettings, folder: Path) -> Any:
    from neural_compressor.torch.quantization import AWQConfig, GPTQConfig, RTNConfig

    kinds = {"rtn": RTNConfig, "gptq": GPTQConfig, "awq": AWQConfig}
    common = {"use_layer_wise": False, "model_path": str(folder)}
    config = kinds[settings.method](
        bits=settings.bits,
        use_sym=settings.symmetric,
        group_size=settings.block_size,
        quant_lm_head=True,  # what it takes for one is the last layer
        **common,
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name not in layers:
            config.set_local(f"^{re.escape(name)}$", kinds[settings.method](dtype="fp32", **common))
    return config


def _blocks(module: Any, input_scale: Tensor | None) -> Blocks:
    """The numbers of one quantized layer. Its zero points of symmetric weights are the middle of the range."""
    parts = module.unpack()
    if parts["g_idx"] is not None:
        raise PassError("quantize_weights: a layer's columns are in an order of their own, which no product can have.")
    integers, zero = (parts[name].numpy().astype(np.uint8) for name in ("int_weight", "zp"))
    symmetric = bool((zero == 2 ** (module.bits - 1)).all())
    return Blocks(
        integers=np.ascontiguousarray(integers),
        scales=np.ascontiguousarray(parts["scales"].numpy()),
        zero_points=None if symmetric else np.ascontiguousarray(zero),
        bits=module.bits,
        size=module.group_size,
        input_scale=None if input_scale is None else input_scale.float().numpy(),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """It logs every step, and what it imports warns of libraries that are not needed here."""
    level = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(level)
