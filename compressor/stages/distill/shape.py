"""The shape of a distilled student, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.errors import RequestError
from compressor.models.families import Family, base_model_type, family_of
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.settings import DistillSettings, StudentSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DistillSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage; raises `RequestError` for a student that cannot learn like this."""
    student = settings.new_student()
    changed = config if student is None else student_config(teacher, student)
    match(settings, Shape.of(changed), Shape.of(teacher))
    return changed


def student_config(teacher: dict[str, Any], settings: StudentSettings) -> dict[str, Any]:
    """The teacher's `config.json` in another shape, without its structural changes.

    Raises `RequestError` where the width is no multiple of the heads.
    """
    family = family_of(teacher)
    config = {key: value for key, value in teacher.items() if key != "compressor"}
    config["model_type"] = base_model_type(teacher)
    config.update({key: value for key, value in _by_config_key(family, settings).items() if value is not None})
    width, heads = family.hidden_size(config), family.head_count(config)
    if width % heads:
        raise RequestError(f"distill: student.hidden_size {width} is not a multiple of student.heads {heads}.")
    return config


def _by_config_key(family: Family, settings: StudentSettings) -> dict[str, int | None]:
    return {
        family.layers_key: settings.layers,
        family.hidden_key: settings.hidden_size,
        family.heads_key: settings.heads,
        family.intermediate_key: settings.intermediate_size,
    }
