"""The one module that imports Optimum: PyTorch in, a plain ONNX file out.

Everything that Optimum and the TorchScript exporter add beyond that (progress lines, warnings about tracing, dynamic
axes) is dealt with here, so that another exporter can take this module's place.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.exporters.onnx.convert import export as optimum_export
from optimum.utils import DummyTextInputGenerator, NormalizedTextConfig

from compressor.config.opset import NEWEST_OPSET, OLDEST_OPSET
from compressor.errors import ExportError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Axes = dict[int, str]
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _TextAndDial(DummyTextInputGenerator):  # type: ignore[misc]
    """Example inputs for tracing: two rows, one of them padded, and dials of which none is at its end."""

    SUPPORTED_INPUT_NAMES = (*_TEXT_INPUTS, "keep", "setting")

    def generate(
        self, input_name: str, framework: str = "pt", int_dtype: str = "int64", float_dtype: str = "fp32"
    ) -> torch.Tensor:
        """One example input by name."""
        if input_name == "keep":
            return torch.linspace(0.9, 0.4, int(self.normalized_config.num_layers))
        if input_name == "setting":
            return torch.ones(1)
        if input_name == "token_type_ids":
            return torch.zeros(self.batch_size, self.sequence_length, dtype=torch.int64)
        if input_name == "attention_mask":
            mask = torch.ones(self.batch_size, self.sequence_length, dtype=torch.int64)
            mask[0, -3:] = 0
            return mask
        example: torch.Tensor = super().generate(input_name, framework, int_dtype, float_dtype)
        return example


class EncoderOnnxConfig(TextEncoderOnnxConfig):  # type: ignore[misc]
    """Inputs and outputs of every BERT-like family and task, with the dials that the model has."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DUMMY_INPUT_GENERATOR_CLASSES: ClassVar[tuple[type, ...]] = (_TextAndDial,)

    def __init__(
        self, config: PretrainedConfig, task: str, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]
    ) -> None:
        super().__init__(config, task=task)
        self._axes = (dict(inputs), dict(outputs))

    @property
    def inputs(self) -> dict[str, Axes]:
        """Names and dynamic axes of the graph's inputs."""
        return self._axes[0]

    @property
    def outputs(self) -> dict[str, Axes]:
        """Names and dynamic axes of the graph's outputs."""
        return self._axes[1]


def trace(
    model: PreTrainedModel,
    target: Path,
    *,
    task: str,
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    opset: int,
) -> None:
    """Export `model` to `target` with Optimum's exporter (TorchScript), in eval mode, every listed axis dynamic.

    Raises:
        ExportError: The operator set is too old, or the exporter failed.
    """
    if opset < OLDEST_OPSET:
        raise ExportError(f"opset {opset} is too old: graphs of transformers need at least {OLDEST_OPSET}.")
    config = EncoderOnnxConfig(model.config, task, inputs, outputs)
    try:
        with _quiet():
            optimum_export(
                cast(Any, model).eval(), config, target, opset=min(opset, NEWEST_OPSET), disable_dynamic_axes_fix=True
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(f"the exporter failed on {type(model).__name__} for {task}: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings about tracing from the screen; errors still come through."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("optimum", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
