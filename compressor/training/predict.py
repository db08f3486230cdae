"""Evaluation of a PyTorch model: outputs of many features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from compressor.tasks.base import Feature
from compressor.training.batches import pad_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PER_TOKEN = ("start_logits", "end_logits")


def predict(
    model: torch.nn.Module,
    features: Sequence[Feature],
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    extra: Mapping[str, torch.Tensor] | None = None,
) -> list[dict[str, np.ndarray]]:
    """Outputs of the model in float32, one mapping a feature in the order of `features`, without padding.

    Spans give [length], token labels [length, labels], classes [labels]. `extra` goes to every forward pass (`keep`).
    The model runs where it is, in evaluation mode, and is put back into the mode that it was in.
    """
    device = next(model.parameters()).device
    training = model.training
    more = {name: value.to(device) for name, value in (extra or {}).items()}
    order = sorted(range(len(features)), key=lambda i: -features[i].length)
    results: list[dict[str, np.ndarray]] = [{} for _ in features]
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs = pad_inputs([features[i] for i in rows], tokenizer)
            with torch.inference_mode():
                outputs = model(**{name: value.to(device) for name, value in inputs.items()}, **more)
            for name, value in outputs.items():
                if not isinstance(value, torch.Tensor):
                    continue
                array = value.float().cpu().numpy()
                per_token = name in _PER_TOKEN or array.ndim == 3
                for row, i in enumerate(rows):
                    results[i][name] = array[row, : features[i].length].copy() if per_token else array[row].copy()
    finally:
        model.train(training)
    return results
