"""The student while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn


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
