"""Which tokens of real texts stay in which layers, for the report of a length-adaptive model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compressor.artifact.manifest import KeptTokens
from compressor.tasks.base import Feature, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLES = 4
"""Texts that are shown."""
LONGEST = 120
"""Tokens of the longest of them, if there are shorter ones."""


def kept_tokens(
    checkpoint: Path,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[Feature],
    keep: Sequence[float],
) -> list[KeptTokens]:
    """A few texts, short to long, with the number of layers that keep each token at `keep` [layers].

    As the float32 model chooses them; a quantized one may choose another where two are nearly equal.
    """
    import torch

    from compressor.models.checkpoint import load

    model = cast(Any, load(checkpoint, task))
    found = []
    for feature in chosen(features):
        inputs = {name: torch.tensor([values]) for name, values in feature.inputs.items()}
        layers = [0] * feature.length
        for positions in model.tokens_kept(torch.tensor(list(keep), dtype=torch.float32), **inputs):
            for position in positions[0].tolist():
                layers[position] += 1
        tokens = tokenizer.convert_ids_to_tokens(feature.inputs["input_ids"])
        found.append(KeptTokens(tokens=[str(token) for token in tokens], layers=layers))
    return found


def chosen(features: Sequence[Feature]) -> list[Feature]:
    """Texts spread over the lengths up to `LONGEST`; the shortest one where all are longer."""
    ordered = sorted(features, key=lambda feature: feature.length)
    short = [feature for feature in ordered if feature.length <= LONGEST] or ordered[:1]
    if len(short) <= EXAMPLES:
        return short
    return [short[round(place * (len(short) - 1) / (EXAMPLES - 1))] for place in range(EXAMPLES)]
