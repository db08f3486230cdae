"""What each depth of the student is compared with in its guide. Imports no torch."""

from __future__ import annotations

import dataclasses

from compressor.errors import RequestError
from compressor.stages.distill.matching import Matching, match
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.dynabert.settings import DynabertSettings
from compressor.stages.dynabert.sizes import layers_at


def lessons(settings: DynabertSettings, student: Shape, guide: Shape) -> dict[float, Matching]:
    """The matching of each depth, and of depth 1, by the multiplier.

    A layer that stays learns from the guide's layer that it learns from in the whole model.

    Raises:
        RequestError: Hidden states of different widths.
    """
    if settings.hidden and student.hidden_size != guide.hidden_size:
        raise RequestError(
            f"dynabert: `hidden` needs equal widths, but the student's is {student.hidden_size} and the teacher's "
            f"{guide.hidden_size}: set hidden: 0, or leave the hidden size as it is."
        )
    losses = DistillSettings(
        logits=settings.logits, temperature=settings.temperature, hidden=settings.hidden, labels=settings.labels
    )
    whole = match(losses, student, guide)
    found = {1.0: whole}
    for depth in settings.depths:
        kept = layers_at(depth, student.layers)
        if whole.pairs:
            losses = dataclasses.replace(losses, layer_map=[partner_of(whole, layer + 1) for layer in kept])
        found[depth] = match(losses, dataclasses.replace(student, layers=len(kept)), guide)
    return found


def partner_of(matching: Matching, layer: int) -> int:
    """The guide's layer that a student's layer learns from, both counted from 1; or the nearest below it."""
    return max((other for own, other in matching.pairs if own <= layer), default=1)
