"""Which teacher layer each student layer learns from. Layers count from 1; 0 means the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from compressor.errors import RequestError


def layer_pairs(
    layer_map: Literal["auto", "uniform", "last"] | Sequence[int], student: int, teacher: int
) -> list[tuple[int, int]]:
    """(student layer, teacher layer) for a student and a teacher of so many layers.

    `uniform` spreads the student's layers over the teacher (TinyBERT: i to i·T/S), `last` takes the teacher's last
    ones, `auto` is `uniform`, or for a student deeper than its teacher the student's last layers. A list names the
    teacher layer of each student layer. Raises `RequestError` if a map does not fit.
    """
    if isinstance(layer_map, str):
        if teacher < student:
            if layer_map != "auto":
                raise RequestError(
                    f"distill: layer_map {layer_map} needs a teacher at least as deep as the student; the teacher has "
                    f"{teacher} layers, the student {student}. Give `layer_map` as a list."
                )
            return [(student - teacher + i, i) for i in range(1, teacher + 1)]
        if layer_map == "last":
            return [(i, teacher - student + i) for i in range(1, student + 1)]
        return [(i, (2 * i * teacher + student) // (2 * student)) for i in range(1, student + 1)]
    if len(layer_map) != student:
        raise RequestError(
            f"distill: layer_map has {len(layer_map)} entries, the student has {student} layers: give one a layer."
        )
    if not all(1 <= layer <= teacher for layer in layer_map):
        raise RequestError(f"distill: layer_map {list(layer_map)} must name teacher layers from 1 to {teacher}.")
    return list(enumerate(layer_map, start=1))
