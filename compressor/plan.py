"""What a run would do, without doing it: every step with its key, and which of them are in the cache already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.cache import Cache, make_key
from compressor.config.schema import to_mapping
from compressor.keys import Keys
from compressor.request import Request, StageEntry
from compressor.request.steps import Entry
from compressor.stages.registry import stage_spec

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
    return Entry("teacher", spec, spec.load_settings()())


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
        steps.append(PlannedStep("pass", step.key, graph, step.spec.summary))
    return steps


def identity(request: Request, steps: Sequence[PlannedStep], fingerprints: dict[str, str]) -> str:
    """What makes two requests the same: the final graph, the data it is judged on, the gates and how it is measured."""
    return make_key(
        "request",
        {
            "graph": steps[-1].key,
            "dev": fingerprints["dev"],
            "device": to_mapping(request.device),
            "gates": to_mapping(request.gates),
            "measure": to_mapping(request.measure),
            "export_each_stage": request.export_each_stage,
        },
    )


def cached(cache: Cache, steps: Sequence[PlannedStep]) -> list[bool]:
    """Which steps need no work, in order."""
    return [cache.find(step.key) is not None for step in steps]
