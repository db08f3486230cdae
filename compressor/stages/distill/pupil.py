"""The student while it learns, and what distillation must know of a model's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from compressor.models.families import family_of_model


@dataclass(frozen=True)
class Shape:
    """What distillation must know of a model's shape."""

    layers: int
    hidden_size: int
    heads: int

    @classmethod
    def of(cls, model: nn.Module) -> Shape:
        """Read the shape of a task model."""
        family = family_of_model(model)
        config = cast(Any, model).config.to_dict()
        return cls(family.layer_count(config), family.hidden_size(config), family.head_count(config))


class Pupil(nn.Module):
    """The student with what it only needs while it learns: projections to the teacher's width."""

    def __init__(self, student: nn.Module, projections: Mapping[int, nn.Linear]) -> None:
        super().__init__()
        self.student = student
        self.projections = nn.ModuleDict({str(layer): linear for layer, linear in projections.items()})

    def to_teacher_width(self, layer: int, states: Tensor) -> Tensor:
        """Hidden states [batch, length, hidden] of a layer, in the teacher's width."""
        name = str(layer)
        return cast(Tensor, self.projections[name](states)) if name in self.projections else states
