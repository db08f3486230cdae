"""Measure an artifact anew: metric on its own held-out data, latency and memory on this machine, its own gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.artifact import swap
from compressor.artifact.manifest import NAME, Manifest, StageRow, now
from compressor.artifact.write import MODEL
from compressor.config.device import DeviceProfile, public, without_private
from compressor.config.run import DataSettings, FeatureSettings, GateSettings, MeasureSettings
from compressor.config.schema import parse, to_mapping
from compressor.data.splits import Splits
from compressor.devices import host, inputs, measure, profiles
from compressor.devices.place import check_place, place_for
from compressor.devices.rounds import is_steady, spread_of
from compressor.devices.speed import Speed
from compressor.devices.tokenization import Tokenization, measure_tokenization
from compressor.errors import ArtifactExistsError, DataError, GateRefusedError, UnknownNameError
from compressor.progress import Progress
from compressor.request.folders import group_folders
from compressor.request.overrides import parse_overrides, value_of
from compressor.validation import gates
from compressor.validation.metric import Evaluation, evaluate
from compressor.validation.on_board import BoardCheck, check_on_board

_CHANGEABLE = ("device", "data", "measure")
_OF_DEVICE = ("host", "python", "emulate", "threads", "power", "memory_mb", "system_memory_mb")
"""Settings of a device that say how it is measured, not which file it gets."""
_PAGE = "report.html"

_OPTIONAL = ("energy_mj", "energy_above_idle_mj", "layers_run")
"""Figures that only a device with a meter has."""


@dataclass(frozen=True)
class Revalidation:
    """Figures then and now, and what the artifact's gates say of the new ones."""

    lines: Sequence[tuple[str, str, str]]  # name, then, now
    measured_on: str
    manifest: Manifest  # the artifact's, with the new figures
    verdicts: Sequence[gates.Verdict] = field(default_factory=list)

    def require(self) -> None:
        """Raise `GateRefusedError` that names every missed gate."""
        refusing = gates.missed(self.verdicts)
        if refusing:
            sentences = "; ".join(verdict.sentence() for verdict in refusing)
            raise GateRefusedError(f"the artifact misses its gates here: {sentences}")


def revalidate(folder: Path, settings: Sequence[str], config_dirs: Sequence[str], progress: Progress) -> Revalidation:
    """Verify an artifact and measure it again, on this machine or on the board at `device.host`.

    `settings` are device=NAME, and KEY=VALUE below `device` (how it is reached and measured), `measure` and `data`.

    Raises `ArtifactError` for a damaged artifact, `DataError` when its held-out data is not the same any more, and
    `DeviceError` when the board cannot be reached or is another one, before anything is measured.
    """
    from compressor.artifact.verify import verify
    from compressor.models.checkpoint import load_tokenizer
    from compressor.tasks import make_task

    manifest = verify(folder).manifest
    asked, device = _settings(settings, config_dirs)
    profile = device or parse(DeviceProfile, manifest.device, where="manifest.json: device")
    profile = parse(DeviceProfile, {**to_mapping(profile), **asked["device"]}, where="device")
    given = manifest.request
    how = parse(MeasureSettings, {**given["measure"], **asked["measure"]}, where="measure")
    check_place(profile, how)
    data = _held_out({**given["data"], **asked["data"]}, manifest)
    if data.fingerprints["dev"] != manifest.data["fingerprints"]["dev"]:
        raise DataError("the held-out data is not what the artifact was judged on: give that by data.dev=FILE.")
    features = parse(FeatureSettings, given["features"], where="manifest.json: features")
    task = make_task(manifest.task, features, manifest.labels, multi_label=manifest.multi_label)
    tokenizer = load_tokenizer(folder)
    rows = task.features(data.dev, tokenizer, labelled=False)
    model = folder / "model.onnx"
    keep = manifest.dial.default if manifest.dial and manifest.dial.kind == "required" else None
    progress.line(f"evaluating {len(data.dev)} examples, then {how.rounds} rounds of {how.runs} runs")
    found = evaluate(model, task, data.dev, tokenizer, profile, keep, features=rows)
    timed = inputs.to_time(
        rows,
        found.blocks_run,
        how,
        longest=task.max_length,
        seed=manifest.seed,
        pad_id=tokenizer.pad_token_id or 0,
    )
    with place_for(profile) as place:  # one connection for all that follows
        speed = measure.measure_speed(model, profile, how, timed, keep)
        tokens = measure_tokenization(folder / "tokenizer.json", data.dev, place, max_length=task.max_length)
        check = check_on_board(model, task, data.dev, tokenizer, profile, keep, rows=how.device_rows)
    limits = parse(GateSettings, given["gates"], where="manifest.json: gates")
    facts = gates.Facts(
        metric_name=task.metric_names[0],
        metric=found.primary,
        teacher_metric=manifest.teacher.get("metrics", {}).get(task.metric_names[0]),
        parity_max_abs=(manifest.parity or {}).get("max_abs"),  # of the export, which has not changed
        parity_tolerance=float(given["export"]["parity_tolerance"]),
        size_bytes=model.stat().st_size,
        p50_ms=speed.p50_ms,
        peak_memory_mb=speed.peak_memory_mb,
        teacher_is_here=False,
        device=profile.name,
        measured_on=speed.measured_on,
        device_agreement=check.same if check else None,
        answers_from=check.measured_on if check else "",
        doubts=speed.doubts(),
    )
    verdicts = gates.judge(limits, facts, speed.on_device)
    lines = _lines(manifest.metrics, manifest.speed.get("artifact", {}), found, speed) + _board_lines(check)
    lines.append(("tokenization p50", "", _figure(tokens.p50_ms, "ms") or tokens.note))
    renewed = dataclasses.replace(
        _with_figures(manifest, found, speed, tokens, check, size_bytes=facts.size_bytes, examples=len(data.dev)),
        device=public(profile),
        command=_command(folder, settings),
        gates=[dataclasses.asdict(verdict) for verdict in verdicts],
    )
    return Revalidation(lines, speed.measured_on, renewed, verdicts)


def keep(found: Revalidation, target: Path, *, overwrite: bool = False) -> None:
    """Put the new figures into a folder that `report` gathers as a run on that device: the manifest and its page.

    Raises `ArtifactExistsError` where something is in the way, and `StorageError`.
    """
    from compressor.report.page import render_run

    require_place(target, overwrite=overwrite)
    with swap.building(target) as folder:
        (folder / _PAGE).write_text(render_run(found.manifest), encoding="utf-8")
        (folder / NAME).write_text(found.manifest.to_json(), encoding="utf-8")


def require_place(target: Path, *, overwrite: bool) -> None:
    """Raise `ArtifactExistsError` where figures may not be written; `overwrite` replaces others, never an artifact."""
    if target.exists() and not target.is_dir():
        raise ArtifactExistsError(f"{target} is a file: write the figures elsewhere with output=FOLDER.")
    there = sorted(path.name for path in target.iterdir()) if target.exists() else []
    others = [name for name in there if name not in (NAME, _PAGE)]
    if others:
        raise ArtifactExistsError(
            f"{target} holds {others[0]}, which figures do not replace: write them elsewhere with output=FOLDER."
        )
    if there and not overwrite:
        raise ArtifactExistsError(
            f"{target} holds figures already: overwrite=true replaces them, output=FOLDER writes elsewhere."
        )


def _with_figures(
    manifest: Manifest,
    found: Evaluation,
    speed: Speed,
    tokens: Tokenization,
    check: BoardCheck | None,
    *,
    size_bytes: int,
    examples: int,
) -> Manifest:
    """An artifact's manifest with what was measured now, and without what was only measured then.

    The other steps lose their times: those of another day, and maybe of another machine, cannot be compared.
    """
    from compressor.assemble import measurements

    held_out = f"{examples} held-out examples of {manifest.data.get('name')}"
    return dataclasses.replace(
        manifest,
        metrics=dict(found.metrics),
        host=host.describe(),
        board=speed.facts,
        board_check=dataclasses.asdict(check) if check else None,
        measurements=measurements(found.metrics, held_out, size_bytes, speed, tokens),
        speed={"artifact": speed.to_mapping()},
        stages=_stages(manifest.stages, found, speed),
        versions=host.versions(),
        created=now(),
        graph=manifest.graph or manifest.files.get(MODEL, ""),
        files={},
    )


def _stages(stages: Sequence[StageRow], found: Evaluation, speed: Speed) -> list[StageRow]:
    others = [dataclasses.replace(row, p50_ms=None, measured_on=None) for row in stages[:-1]]
    where = speed.measured_on
    artifact = [
        dataclasses.replace(row, metric=found.primary, p50_ms=speed.p50_ms, measured_on=where) for row in stages[-1:]
    ]
    return others + artifact


def _command(folder: Path, settings: Sequence[str]) -> list[str]:
    """The words that measure the same again, without those that say how one user reaches a board."""
    return ["validate", str(folder), *without_private(settings)]


def _held_out(settings: dict[str, Any], manifest: Manifest) -> Splits:
    """The data that the artifact was judged on; its training data is not needed where dev is a file of its own."""
    from compressor.data import load

    settings.pop("choice", None)
    if settings.get("source") == "files" and settings.get("dev"):
        settings["train"] = None
    try:
        return load(parse(DataSettings, settings, where="data"), manifest.task, manifest.seed)  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"{error} Give the held-out data by data.dev=FILE.") from error


def _settings(
    settings: Sequence[str], config_dirs: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], DeviceProfile | None]:
    overrides = parse_overrides(settings, config_dirs)
    found: dict[str, dict[str, Any]] = {name: {} for name in _CHANGEABLE}
    for key, text in overrides.values.items():
        group, _, name = key.partition(".")
        if group not in _CHANGEABLE or not name or (group == "device" and name not in _OF_DEVICE):
            known = ["device", "measure.length", "measure.runs", "data.dev", *(f"device.{one}" for one in _OF_DEVICE)]
            raise UnknownNameError("key", key, known, "validate")
        found[group][name] = value_of(text)
    for group in overrides.choices:
        if group != "device":
            raise UnknownNameError("key", group, _CHANGEABLE, "validate")
    chosen = overrides.choices.get("device")
    folders = group_folders("device", overrides.own_folders)
    return found, profiles.load(chosen, folders) if chosen else None


def _lines(
    metrics: Mapping[str, float], before: Mapping[str, Any], found: Evaluation, speed: Speed
) -> list[tuple[str, str, str]]:
    lines = [(name, _figure(metrics.get(name)), _figure(value)) for name, value in found.metrics.items()]
    now = speed.to_mapping()
    for name, key, unit in (
        ("p50", "p50_ms", "ms"),
        ("p90", "p90_ms", "ms"),
        ("p99", "p99_ms", "ms"),
        ("first call", "first_call_ms", "ms"),
        ("peak memory", "peak_memory_mb", "MiB"),
        ("energy", "energy_mj", "mJ"),
        ("energy above idle", "energy_above_idle_mj", "mJ"),
        ("layers run by what was timed", "layers_run", ""),
    ):
        if key not in _OPTIONAL or before.get(key) is not None or now.get(key) is not None:
            lines.append((name, _figure(before.get(key), unit), _figure(now.get(key), unit)))
    if speed.memory_limit_mb is not None:
        title = f"fits {speed.memory_limit_mb:.0f} MiB"
        lines.append((title, _yes(before.get("fits_memory")), _yes(speed.fits_memory)))
    doubts = speed.doubts()
    if doubts:
        lines.append(("the machine was too noisy", "", " and ".join(doubts)))
    again = spread_of([before["p50_ms"], speed.p50_ms]) if _alike(before, speed) else None
    if again is not None and is_steady(again) is False:
        lines.append(("then and now differ by", "", f"{100 * again:.0f} %: the machine was too noisy, then or now"))
    return lines


def _alike(before: Mapping[str, Any], speed: Speed) -> bool:
    """Whether the manifest's latency was taken as this one: there, of the same inputs, with as many threads."""
    same = all(before.get(name) == getattr(speed, name) for name in ("measured_on", "length", "batch_size", "threads"))
    same = same and before.get("inputs", 1) == speed.inputs
    return same and isinstance(before.get("p50_ms"), float)


def _board_lines(check: BoardCheck | None) -> list[tuple[str, str, str]]:
    """What the board answers (now) beside what this machine does (then) on the same sample."""
    if check is None:
        return []
    lines = [("answers compared with those of", "", check.measured_on)]
    lines.append((f"same answers on {check.examples} examples", "", f"{check.same:.1f} %"))
    lines.append(("largest difference of an output", "", f"{check.max_abs:.2g}"))
    for name, value in check.metrics.items():
        lines.append((f"{name} there, on those", _figure(check.metrics_here[name]) + " here", _figure(value)))
    return lines


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[value]


def _figure(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.2f} {unit}".rstrip()
