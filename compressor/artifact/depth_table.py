"""What the manifest says of early stops, from the layers that held-out texts needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compressor.artifact.manifest import Depth, DepthExample, DepthSetting
from compressor.graph.dial import DEPTH_DIALS
from compressor.models.structure import AdaptiveDepth

EXAMPLES = 5
"""Texts that are shown at either end."""
_LONGEST = 160


def make_depth(
    depth: AdaptiveDepth,
    *,
    kind: str,
    default: float,
    rows: Sequence[Mapping[str, float]],
    layers: int,
    blocks: Sequence[int],
    texts: Sequence[str],
    macs: Callable[[int], int] | None = None,
) -> Depth:
    """Mean, histogram, and the texts that stopped first and last (shorter texts first among equals).

    What ran all layers has not stopped early: where nothing did, that list is empty.

    Args:
        depth: The model's structure.
        kind: optional or fixed.
        default: The dial's value where none is given.
        rows: What a search has tried: setting, metric and mean_blocks.
        layers: Layers of the model.
        blocks: Layers that each text needed, [texts].
        texts: The texts themselves.
        macs: What the longest input costs that runs so many layers; None: not counted.
    """
    counts = np.asarray(blocks, dtype=np.int64)
    stopped = [place for place in range(len(counts)) if counts[place] < layers]
    order = sorted(stopped, key=lambda place: (counts[place], len(texts[place])))
    histogram = np.bincount(counts - 1, minlength=layers).tolist()
    late = sorted(range(len(counts)), key=lambda place: (-counts[place], len(texts[place])))
    return Depth(
        method=depth.method,
        input=DEPTH_DIALS[depth.method],
        kind=kind,
        layers=layers,
        default=default,
        mean_blocks=float(counts.mean()),
        histogram=histogram,
        full_macs=macs(layers) if macs else None,
        mean_macs=_mean([macs(number) for number in range(1, layers + 1)], histogram) if macs else None,
        settings=[DepthSetting(**row) for row in rows],
        early=[_example(texts[place], int(counts[place])) for place in order[:EXAMPLES]],
        late=[_example(texts[place], int(counts[place])) for place in late[:EXAMPLES]],
    )


def _mean(costs: Sequence[int], texts: Sequence[int]) -> int:
    return round(sum(cost * count for cost, count in zip(costs, texts, strict=True)) / sum(texts))


def _example(text: str, blocks: int) -> DepthExample:
    shown = " ".join(text.split())
    return DepthExample(text=shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…", blocks=blocks)
