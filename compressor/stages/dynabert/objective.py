"""One update of DynaBERT: every size learns from the guide, one forward and backward pass each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from compressor.models.kinds.widths import LayerWidth
from compressor.models.sub_network import sub_network
from compressor.stages.distill.objective import Distillation, Lesson
from compressor.stages.distill.pupil import Pupil


@dataclass(frozen=True)
class Size:
    """A sub-network: the layers that run and, for every layer of the whole, its width."""

    depth: float
    layers: list[int]
    widths: list[LayerWidth]


class EverySize:
    """Yields the loss of every size, the widest first (Hou et al. 2020, algorithm 1 and 2).

    Args:
        sizes: The sub-networks, by width multiplier.
        distillations: What a depth is compared by, by depth multiplier; that of 1 asks the guide.
        guide_narrows: Whether the guide runs at the student's width and full depth (when it is a model of all widths
            itself), and not always whole.
    """

    def __init__(
        self, sizes: Mapping[float, list[Size]], distillations: Mapping[float, Distillation], *, guide_narrows: bool
    ) -> None:
        self.sizes = sizes
        self.distillations = distillations
        self.guide_narrows = guide_narrows

    def __call__(
        self, model: torch.nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """Losses of one batch: inputs [batch, length] by the tokenizer's names, labels by the task's."""
        pupil, asked = cast(Pupil, model), self.distillations[1.0]
        lesson = None if self.guide_narrows else asked.lesson(inputs)
        for width in sorted(self.sizes, reverse=True):
            if self.guide_narrows:
                with sub_network(asked.teacher, widths=self.sizes[width][0].widths):
                    lesson = asked.lesson(inputs)
            for size in self.sizes[width]:
                with sub_network(pupil.student, layers=size.layers, widths=size.widths):
                    loss = self.distillations[size.depth].loss(pupil, inputs, labels, cast(Lesson, lesson))
                yield loss
