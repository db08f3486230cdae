"""The whole flow, one way: teacher, stages, export, passes, validate, gate, artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.cache import Cache
from compressor.data_memo import remember
from compressor.devices.place import check_place
from compressor.disk import storage_errors
from compressor.errors import GateRefusedError
from compressor.foretell import fitted, refuse_the_impossible
from compressor.plan import identity, planned_steps, teacher_stage
from compressor.progress import Progress, Silent
from compressor.request import Request, StageEntry
from compressor.rows import Row, make_row, require_teacher, tell, with_speed
from compressor.steps import Graph, Steps
from compressor.teacher import find_teacher, labels_for, made_for, require_learnable, teacher_config
from compressor.validation import gates
from compressor.validation.gates import Verdict


@dataclass(frozen=True)
class Outcome:
    """What a run gave: the artifact's folder, the table's rows and the gates' verdicts (none if it was there)."""

    artifact: Path
    already_there: bool
    rows: Sequence[Row] = ()
    verdicts: Sequence[Verdict] = ()


class RefusedRunError(GateRefusedError):
    """A gate refused at the end of a run; the rows and verdicts are there to be shown."""

    def __init__(self, message: str, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
        super().__init__(message)
        self.rows = rows
        self.verdicts = verdicts


def run(request: Request, progress: Progress | None = None, *, again: bool = True) -> Outcome:
    """Turn a request into an artifact, going on from whatever the cache holds.

    `again`: what a gate has refused before is measured and judged again; False: the report of then stands.

    Raises `CompressorError`s: among them `ArtifactExistsError` (another artifact is in the way) and `DeviceError` (the
    board at `device.host` cannot be reached, is another one, or lacks what measuring needs) before any work,
    and `GateRefusedError` at the end, with the report kept under `exports/.refused/`.
    """
    cache = Cache(request.output / ".cache")
    with cache.in_use(), storage_errors(request.output):
        steps, before, request_key = prepare(request, cache, progress or Silent())
        if artifact_is_there(request, request_key):
            return Outcome(request.artifact, already_there=True)
        if not again:
            _require_not_refused(request, request_key)
        check_place(request.device, request.measure)
        for entry in before:
            steps.teacher, seconds = steps.stage(entry, steps.teacher)
            steps.progress.line(f"teacher: fine-tuned on {len(steps.data.train)} examples, {seconds:.0f} s")
        rows, graph = compress(steps)
        return conclude(steps, with_speed(steps, rows), graph, request_key)


def prepare(request: Request, cache: Cache, progress: Progress) -> tuple[Steps, list[StageEntry], str]:
    """Data, teacher, the stages that a teacher without a head needs first, and the key that tells requests apart.

    Raises `RequestError` and `DeviceError` for what can be seen to be impossible, data that is missing among it.
    """
    from compressor.data import load
    from compressor.models.checkpoint import has_head
    from compressor.models.config_file import read_config
    from compressor.tasks import make_task

    refuse_the_impossible(request, teacher_config(request), to_measure=True)
    request = fitted(request, teacher_config(request))
    data = load(request.data, request.task, request.seed)
    remember(request, cache, data)
    teacher = find_teacher(request, cache)
    config = read_config(teacher.path)
    labels = labels_for(config, request.task, data.labels, request.data)
    if not made_for(config, request.task):
        require_learnable(data)
    task = make_task(request.task, request.features, labels, multi_label=data.multi_label)
    steps = Steps(request, task, data, teacher, cache, progress)
    before = [] if has_head(teacher.path, task) else [teacher_stage()]
    steps.require_data(before)
    for entry in request.stages:
        entry.spec.check_inputs(entry.settings, teacher.path, data)
    planned = planned_steps(request, steps.keys, teacher.key, before=before)
    return steps, before, identity(request, planned, data.fingerprints)


def compress(steps: Steps) -> tuple[list[Row], Graph]:
    """Stages, export and passes; every result that is exported becomes a row. Returns the final graph too."""
    request = steps.request
    baseline = steps.export(steps.teacher)
    rows = [make_row(steps, "teacher", "teacher", baseline, baseline, None)]
    tell(steps.progress, rows[0])
    require_teacher(steps, rows[0])
    student, plain = steps.teacher, baseline
    for entry in request.stages:
        student, seconds = steps.stage(entry, student)
        if request.export_each_stage:
            plain = steps.export(student)
            rows.append(make_row(steps, entry.key, "stage", steps.fused(plain), plain, rows[0], seconds))
            tell(steps.progress, rows[-1])
    plain = graph = steps.export(student)
    for step in request.passes:
        graph = steps.graph_pass(step, graph)
    rows.append(make_row(steps, "artifact", "artifact", graph, plain, rows[0]))
    tell(steps.progress, rows[-1])
    return rows, graph


def _on_device(rows: Sequence[Row]) -> bool:
    """Whether the artifact's figures are the device's own."""
    speed = rows[-1].speed
    return speed is not None and speed.on_device


def _require_not_refused(request: Request, request_key: str) -> None:
    from compressor.artifact import write

    report = None if request.overwrite else write.refused_before(request.output, request.place, request_key)
    if report is not None:
        raise GateRefusedError(
            f"a gate has refused this very request before: {report / 'report.html'} (overwrite=true runs it again)"
        )


def artifact_is_there(request: Request, request_key: str) -> bool:
    """Whether the artifact of this very request stands already, verified; anything else there is an error.

    Raises `ArtifactExistsError`, and `ArtifactError` for one of this request that is damaged.
    """
    from compressor.artifact import write

    if not request.overwrite and write.existing(request.artifact, request_key) is not None:
        return True
    write.require_free(request.artifact, request.overwrite)
    return False


def conclude(steps: Steps, rows: Sequence[Row], graph: Graph, request_key: str) -> Outcome:
    """Judge the gates, then write the artifact, or keep the report and refuse."""
    from compressor.artifact import write
    from compressor.artifact.config import stock_config
    from compressor.assemble import facts, manifest_of
    from compressor.halves import make_halves
    from compressor.models.config_file import read_config
    from compressor.report.page import render_run

    request, checkpoint = steps.request, graph.checkpoint.path
    verdicts = gates.judge(request.gates, facts(steps, rows), _on_device(rows))
    halves = make_halves(steps, graph)
    manifest = manifest_of(steps, rows, graph, verdicts, request_key, halves)
    try:
        gates.require(verdicts)
    except GateRefusedError as refusal:
        report = write.write_refused(
            request.output, request.place, manifest, render_run(manifest, refused=str(refusal))
        )
        message = (
            f"{refusal}. The report is {report / 'report.html'}. Train longer, choose a gentler recipe, or move the "
            "limit (gates.NAME=VALUE, null switches it off)."
        )
        raise RefusedRunError(message, rows, verdicts) from refusal
    write.write_artifact(
        request.artifact,
        model=graph.path,
        config=stock_config(read_config(checkpoint), steps.task),
        tokenizer=checkpoint,
        manifest=manifest,
        page=render_run,
        halves=halves.files if halves else (),
        overwrite=request.overwrite,
    )
    write.drop_refused(request.output, request.place)
    return Outcome(request.artifact, already_there=False, rows=rows, verdicts=verdicts)
