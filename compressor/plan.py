"""What a run would do, without doing it: every step with its key, and which of them are in the cache already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compressor.cache import Cache, make_key
from compressor.config.device import public
from compressor.config.schema import to_mapping
from compressor.data_memo import recall
from compressor.foretell import final_config, fitted, refuse_the_impossible, require_parts
from compressor.graph.expected import Expected
from compressor.keys import Keys
from compressor.models import macs
from compressor.models.families import family_of
from compressor.models.structure import Structure
from compressor.request import PassEntry, Request, StageEntry
from compressor.request.steps import TEACHER, Entry
from compressor.stages.registry import stage_spec
from compressor.teacher import labels_for, made_for, teacher_config, teacher_key

Kind = Literal["stage", "export", "pass"]


@dataclass(frozen=True)
class PlannedStep:
    """One step on the way to the final graph."""

    kind: Kind
    name: str  # the entry's key; "export" for the export
    key: str  # in the cache
    summary: str


def teacher_stage() -> StageEntry:
    """The fine-tuning that a teacher without a head for the task gets first."""
    spec = stage_spec("finetune")
    return Entry(TEACHER, spec, spec.load_settings()())


def planned_steps(
    request: Request, keys: Keys, teacher: str, *, before: Sequence[StageEntry] = ()
) -> list[PlannedStep]:
    """The steps from the teacher's checkpoint (key `teacher`) to the final graph, in order.

    `before` are stages that make the teacher itself ready; what they give is the teacher of the others.
    """
    steps = []
    for entry in before:
        teacher = keys.stage(entry, teacher, teacher)
        steps.append(PlannedStep("stage", entry.key, teacher, "the teacher has no head for the task: fine-tune it"))
    checkpoint = teacher
    for entry in request.stages:
        checkpoint = keys.stage(entry, checkpoint, teacher)
        steps.append(PlannedStep("stage", entry.key, checkpoint, entry.spec.summary))
    graph = keys.export(checkpoint)
    steps.append(PlannedStep("export", "export", graph, f"opset {request.opset}, dial {request.dial}"))
    for step in request.passes:
        graph = keys.graph_pass(step, graph, checkpoint)
        steps.append(PlannedStep("pass", step.key, graph, _pass_summary(step, request)))
    return steps


def _pass_summary(step: PassEntry, request: Request) -> str:
    """What a pass does; where the device decides the number format, which one."""
    number_format = request.device.number_format
    if step.spec.name == "quantize" and step.settings.mode == "auto" and "int8" not in number_format:
        return f"{number_format}, which {request.device.name} is fast at"
    return step.spec.summary


def identity(request: Request, steps: Sequence[PlannedStep], fingerprints: Mapping[str, str]) -> str:
    """What makes two requests the same: the final graph, the data it is judged on, the gates and how it is measured."""
    return make_key(
        "request",
        {
            "graph": steps[-1].key,
            "dev": fingerprints["dev"],
            "device": public(request.device),
            "measured_there": request.device.host is not None,
            "gates": to_mapping(request.gates),
            "parity_tolerance": request.export.parity_tolerance,
            "measure": to_mapping(request.measure),
            "export_each_stage": request.export_each_stage,
        },
    )


@dataclass(frozen=True)
class Plan:
    """What a run would do: its steps, which of them are cached, and what it is expected to give."""

    steps: Sequence[PlannedStep]
    cached: Sequence[bool]
    facts: Mapping[str, str]
    artifact_there: bool


def make_plan(request: Request) -> Plan:
    """Foretell a run from JSON files alone: no torch, no data.

    Raises `CheckpointError` for a teacher that cannot be used, and `RequestError` for stages that do not fit it.
    """
    cache = Cache(request.output / ".cache")
    config = teacher_config(request)
    refuse_the_impossible(request, config, to_measure=False)
    request = fitted(request, config)
    memo = recall(request, cache)
    labels = labels_for(config, request.task, memo.labels if memo else (), request.data)
    before = [] if made_for(config, request.task) else [teacher_stage()]
    if request.data.source == "files" and request.data.train is None:  # all parts but dev are of the training data
        require_parts(request, (), request.data_name, lambda part: part == "dev")
    fingerprints = memo.fingerprints if memo else dict.fromkeys(("train", "calibration", "search", "dev"), "unknown")
    keys = Keys(request, labels, fingerprints)
    steps = planned_steps(request, keys, teacher_key(request, cache), before=before)
    return Plan(
        steps=steps,
        cached=[memo is not None and cache.find(step.key) is not None for step in steps],
        facts=_facts(request, config, memo.examples if memo else None),
        artifact_there=request.artifact.is_dir(),
    )


def _facts(request: Request, config: dict[str, Any], examples: Mapping[str, int] | None) -> dict[str, str]:
    sizes = "" if examples is None else " (" + ", ".join(f"{part} {n}" for part, n in examples.items()) + ")"
    length = request.features.longest(request.task)
    final = final_config(request, config)
    found = [entry.key for entry in request.stages if getattr(entry.settings, "size_is_found", False)]
    by_data = f" ({' and '.join(found)}: the data decide how much less)" if found else ""
    return {
        "task": request.task,
        "device": f"{request.device.name}: {request.device.description}",
        "data": f"{request.data_name}{sizes}",
        "teacher": f"{request.teacher_name}: {_shape(config, Structure(), length, request)}",
        "artifact": f"expected {'at most ' if found else ''}"
        f"{_shape(final, Structure.from_config(final), length, request, final=True)}{by_data}",
    }


def _shape(config: dict[str, Any], structure: Structure, length: int, request: Request, *, final: bool = False) -> str:
    family = family_of(config)
    count = macs.count(config, structure, length=length, task=request.task)
    passes = [(entry.spec.name, entry.settings) for entry in request.passes] if final else []
    megabytes = Expected(config, request.task, passes, request.device, request.opset).bytes() / 1e6
    return (
        f"{family.layer_count(config)} layers x {family.hidden_size(config)}, {count / 1e6:,.0f} million MACs "
        f"at {length} tokens, about {megabytes:.1f} MB"
    )
