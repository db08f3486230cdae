"""Puts the results of a run together: the facts that gates judge, and the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from compressor.artifact import config as artifact_config
from compressor.artifact.depth_table import make_depth
from compressor.artifact.dial_table import make_dial
from compressor.artifact.kept_tokens import kept_tokens
from compressor.artifact.manifest import Depth, Dial, Manifest, Measurement, StageRow, sha256
from compressor.config.device import public
from compressor.devices import host, identity, rounds
from compressor.devices.speed import Speed
from compressor.devices.tokenization import Tokenization
from compressor.graph import dial as dials
from compressor.halves import MadeHalves
from compressor.models import macs
from compressor.models.config_file import read_config
from compressor.models.families import family_of
from compressor.models.locate import hub_name
from compressor.models.structure import Structure
from compressor.rows import Row
from compressor.steps import Graph, Steps
from compressor.tasks.examples import Text
from compressor.validation.gates import Facts, Verdict


def facts(steps: Steps, rows: Sequence[Row]) -> Facts:
    """What the gates are judged on: the last row against the first."""
    teacher, artifact = rows[0], rows[-1]
    speed, baseline = artifact.speed, teacher.speed
    return Facts(
        metric_name=steps.task.metric_names[0],
        metric=artifact.evaluation.primary,
        teacher_metric=teacher.evaluation.primary,
        parity_max_abs=artifact.parity.max_abs,
        parity_tolerance=steps.request.export.parity_tolerance,
        size_bytes=artifact.size_bytes,
        p50_ms=speed.p50_ms if speed else None,
        teacher_p50_ms=baseline.p50_ms if baseline else None,
        peak_memory_mb=speed.peak_memory_mb if speed else None,
        device=steps.request.device.name,
        measured_on=speed.measured_on if speed else "this machine",
        device_agreement=artifact.on_board.same if artifact.on_board else None,
        answers_from=artifact.on_board.measured_on if artifact.on_board else "",
        doubts=list(dict.fromkeys(doubt for one in (speed, baseline) if one for doubt in one.doubts())),
    )


def manifest_of(
    steps: Steps,
    rows: Sequence[Row],
    graph: Graph,
    verdicts: Sequence[Verdict],
    request_key: str,
    halves: MadeHalves | None = None,
) -> Manifest:
    """Everything that is known of the result."""
    request, task, data = steps.request, steps.task, steps.data
    teacher, artifact = rows[0], rows[-1]
    speeds = {row.name: row.speed.to_mapping() for row in rows if row.speed and row.kind != "stage"}
    return Manifest(
        task=task.name,
        labels=list(task.labels),
        multi_label=task.multi_label,
        request=request.resolved(),
        request_key=request_key,
        command=request.command,
        device=public(request.device),
        teacher={
            "name": request.teacher_name,
            "hub": hub_name(request.teacher.path),
            "key": steps.teacher.key,
            "metrics": dict(teacher.evaluation.metrics),
        },
        data={
            "name": data.name,
            "hub": request.data.name if request.data.source == "hub" else None,
            "examples": {part: len(data.part(part)) for part in ("train", "calibration", "search", "dev")},
            "fingerprints": dict(data.fingerprints),
        },
        seed=request.seed,
        preprocessing=artifact_config.preprocessing_settings(task, steps.tokenizer(graph.checkpoint)),
        decoding=artifact_config.decoding_settings(task),
        metrics=dict(artifact.evaluation.metrics),
        host=host.describe(),
        board=artifact.speed.facts if artifact.speed else None,
        board_check=dataclasses.asdict(artifact.on_board) if artifact.on_board else None,
        agreement=dataclasses.asdict(artifact.agreement),
        parity=dataclasses.asdict(artifact.parity),
        gates=[dataclasses.asdict(verdict) for verdict in verdicts],
        measurements=_measurements(steps, artifact, teacher) + (halves.measurements if halves else []),
        speed=speeds,
        stages=[_stage_row(row) for row in rows],
        passes=graph.notes,
        dial=_dial(steps, graph, artifact),
        depth=_depth(steps, graph, artifact),
        halves=halves.entry if halves else None,
        versions=host.versions(),
        graph=sha256(graph.path),
    )


def _stage_row(row: Row) -> StageRow:
    return StageRow(
        name=row.name,
        metric=row.evaluation.primary,
        size_bytes=row.size_bytes,
        macs=row.macs,
        p50_ms=row.speed.p50_ms if row.speed else None,
        measured_on=row.speed.measured_on if row.speed else None,
        seconds=row.seconds,
        notes={"agreement": row.agreement.same, "parity_max_abs": row.parity.max_abs},
    )


def _measurements(steps: Steps, artifact: Row, teacher: Row) -> list[Measurement]:
    return measurements(
        artifact.evaluation.metrics,
        f"{artifact.agreement.examples} held-out examples of {steps.data.name}",
        artifact.size_bytes,
        artifact.speed,
        artifact.tokenization,
        teacher.speed,
    )


def measurements(
    metrics: Mapping[str, float],
    held_out: str,
    size_bytes: int,
    speed: Speed | None,
    tokens: Tokenization | None,
    teacher: Speed | None = None,
) -> list[Measurement]:
    """Each number of an artifact with how and where it was taken; `teacher`: measured in the same rounds."""
    found = [
        Measurement(name=name, value=value, unit="points", how=held_out, where="the file itself", on_device=False)
        for name, value in metrics.items()
    ]
    size = size_bytes / 1e6
    found.append(Measurement(name="size", value=size, unit="MB", how="model.onnx", where="disk", on_device=True))
    if speed is None:
        return found
    how = (
        f"{speed.taken_with()}, batch {speed.batch_size}, {speed.threads} threads, {speed.rounds} rounds of "
        f"{speed.runs} runs after warm-up, each in a fresh process, {', '.join(speed.providers)}"
    )
    values: list[tuple[str, float | None, str]] = [
        ("latency p50", speed.p50_ms, "ms"),
        ("latency p90", speed.p90_ms, "ms"),
        ("latency p99", speed.p99_ms, "ms"),
        ("first call", speed.first_call_ms, "ms"),
        ("throughput", speed.throughput_per_s, "rows/s"),
        ("peak memory", speed.peak_memory_mb, "MiB"),
        ("energy", speed.energy_mj, "mJ a call"),
        ("energy above idle", speed.energy_above_idle_mj, "mJ a call"),
    ]
    if tokens is not None:
        found.append(
            Measurement(
                name="tokenization p50",
                value=tokens.p50_ms,
                unit="ms",
                how=f"{tokens.texts} held-out texts, not part of the latency; {tokens.note}",
                where=tokens.measured_on,
                on_device=tokens.on_device,
            )
        )
    if teacher is not None:
        values.append(("speed-up over the teacher's float32 export", teacher.p50_ms / speed.p50_ms, "times"))
    for name, number, unit in values:
        note = "; ".join([how, *_notes(name, speed)])
        where, on_device = speed.measured_on, speed.on_device
        found.append(Measurement(name=name, value=number, unit=unit, how=note, where=where, on_device=on_device))
    return found


def _notes(name: str, speed: Speed) -> list[str]:
    """What is to be said of one figure beside how all of them were taken."""
    if name.startswith("energy"):
        return [speed.energy_note]
    if name == "peak memory":
        return [speed.memory_note]
    noise = rounds.said(speed.doubts())
    return [noise] if noise and name != "first call" else []


def _dial(steps: Steps, graph: Graph, artifact: Row) -> Dial | None:
    config = read_config(graph.checkpoint.path)
    structure = Structure.from_config(config)
    if structure.length_adaptive is None or artifact.keep is None:
        return None

    def counted(keep: Sequence[float]) -> int:
        """MACs at the length that every other row of the manifest is counted at."""
        return macs.count(config, structure, length=steps.task.max_length, keep=keep, task=steps.task.name)

    return make_dial(
        kind=steps.request.dial,
        default=artifact.keep,
        minimum=structure.length_adaptive.minimum,
        full_macs=counted([1.0] * len(artifact.keep)),
        rows=[{**row, "macs": counted(row["keep"])} for row in dials.read_table(graph.path)],
        metric=steps.task.metric_names[0],
        measured_on=_searched_on(graph) or identity.measured_on(steps.request.device),
        examples=kept_tokens(
            graph.checkpoint.path,
            steps.task,
            steps.tokenizer(graph.checkpoint),
            steps.features(graph.checkpoint),
            artifact.keep,
        ),
    )


def _searched_on(graph: Graph) -> str | None:
    """Where a pass measured the times of the dial's table."""
    places = (notes.get("measured_on") for notes in graph.notes.values())
    return next((str(place) for place in places if place), None)


def _depth(steps: Steps, graph: Graph, artifact: Row) -> Depth | None:
    config = read_config(graph.checkpoint.path)
    structure = Structure.from_config(config)
    depth = structure.adaptive_depth
    blocks = artifact.evaluation.blocks_run
    default = dials.depth_default(graph.path)
    if depth is None or blocks is None or default is None:
        return None
    return make_depth(
        depth,
        kind=dials.depth_kind(cast(dials.Dial, steps.request.dial)),
        default=default,
        rows=dials.read_depth_table(graph.path),
        layers=family_of(config).layer_count(config),
        blocks=blocks,
        texts=[_text(example) for example in steps.data.dev],
        macs=lambda blocks: macs.count(
            config,
            structure,
            length=steps.task.max_length,
            keep=artifact.keep,
            blocks=blocks,
            task=steps.task.name,
        ),
    )


def _text(example: object) -> str:
    """What a reader recognises a text by."""
    if not isinstance(example, Text):
        return ""
    return example.text if example.pair is None else f"{example.text} / {example.pair}"
