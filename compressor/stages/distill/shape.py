"""The shape of a distilled student, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.errors import RequestError
from compressor.models.elastic import sizes_of
from compressor.models.families import Family, base_model_type, family_of
from compressor.models.structure import Convolutional, Recurrent, Structure, with_structure
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.settings import DistillSettings, StudentSettings

_VOCABULARY = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_WIDTH = 300
_WINDOWS = (3, 4, 5)


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DistillSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage; raises `RequestError` for a student that cannot learn like this."""
    student = settings.new_student()
    lost = [] if student is None else lost_work(config, teacher)
    if lost:
        raise RequestError(
            "distill: a new student begins anew, so that what the stages before made of the model "
            f"({', '.join(lost)}) would be lost: put distill first, or learn with student: previous."
        )
    changed = config if student is None else student_config(teacher, config, student)
    match(settings, Shape.of(changed), Shape.of(teacher))
    return changed


def lost_work(config: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[str]:
    """In what a model's shape differs from its teacher's, which a student of the teacher's shape would not have."""
    family, own, other = family_of(teacher), Structure.from_config(config), Structure.from_config(teacher).kinds()
    found = sorted(name for name, kind in own.kinds().items() if other.get(name) != kind)
    if own.other_encoder is None:  # whose sizes are told by its kind
        sizes = {
            "layers": family.layers_key,
            "hidden size": family.hidden_key,
            "heads": family.heads_key,
            "feed-forward width": family.intermediate_key,
        }
        changed = {name: key for name, key in sizes.items() if config[key] != teacher[key]}
        found += [f"{name} {config[key]} in the place of {teacher[key]}" for name, key in changed.items()]
    if sizes_of(config) not in (None, sizes_of(teacher)):
        found.append("the sizes of dynabert")
    return found


def student_config(
    teacher: dict[str, Any], previous: dict[str, Any], settings: StudentSettings, *, summary: bool = True
) -> dict[str, Any]:
    """The teacher's `config.json` in another shape, without its structural changes; the vocabulary is `previous`'s.

    `summary`: whether the head reads position 0 alone. Raises `RequestError` where the width cannot be shared evenly.
    """
    family = family_of(teacher)
    config = {key: value for key, value in teacher.items() if key != "compressor"}
    config["model_type"] = base_model_type(teacher)
    config.update({key: previous[key] for key in _VOCABULARY if key in previous})
    if settings.kind != "transformer":
        return _without_layers(config, family, settings, summary=summary)
    config.update({key: value for key, value in _by_config_key(family, settings).items() if value is not None})
    width, heads = family.hidden_size(config), family.head_count(config)
    if width % heads:
        raise RequestError(f"distill: student.hidden_size {width} is not a multiple of student.heads {heads}.")
    return config


def _without_layers(
    config: dict[str, Any], family: Family, settings: StudentSettings, *, summary: bool
) -> dict[str, Any]:
    layers, hidden = settings.layers or 1, settings.hidden_size or _WIDTH
    windows = settings.windows or list(_WINDOWS)
    shares = 2 if settings.kind == "bilstm" else len(windows)
    if hidden % shares:
        what = "two directions" if settings.kind == "bilstm" else f"{shares} windows"
        raise RequestError(f"distill: student.hidden_size {hidden} cannot be shared evenly by {what}.")
    embedding = settings.embedding_size or hidden
    own = None if family.embedding_key or embedding == hidden else embedding
    config |= {family.layers_key: layers, family.hidden_key: hidden, family.heads_key: 1}
    config |= {family.intermediate_key: hidden, **({family.embedding_key: embedding} if family.embedding_key else {})}
    if settings.kind == "bilstm":
        kind = Structure(recurrent=Recurrent(layers=layers, embedding_size=own, summary=summary))
    else:
        other = Convolutional(windows=windows, layers=layers, embedding_size=own, summary=summary)
        kind = Structure(convolutional=other)
    return with_structure(config, kind)


def _by_config_key(family: Family, settings: StudentSettings) -> dict[str, int | None]:
    return {
        family.layers_key: settings.layers,
        family.hidden_key: settings.hidden_size,
        family.heads_key: settings.heads,
        family.intermediate_key: settings.intermediate_size,
    }
