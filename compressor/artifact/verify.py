"""Is a folder an artifact, whole and as it was written? Hashes, paths, the graph itself, and that it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.artifact.manifest import NAME, Manifest, read, sha256
from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import TEXT_TASKS
from compressor.errors import ArtifactError, DeviceError, PassError
from compressor.tasks.base import Feature

if TYPE_CHECKING:
    import onnx

REQUIRED = ("model.onnx", "config.json", "tokenizer.json", "README.md", "report.html", "sample.py")
_OUTPUTS = {
    "question-answering": ("start_logits", "end_logits"),
    "text-classification": ("logits",),
    "text-regression": ("logits",),
    "token-classification": ("logits",),
}
_LENGTHS = (1, 2, 7)


@dataclass(frozen=True)
class Verification:
    """The manifest of a sound artifact; `extra` names files in the folder that it does not know."""

    manifest: Manifest
    extra: list[str] = field(default_factory=list)


def verify(folder: Path) -> Verification:
    """Check an artifact; raises `ArtifactError` with the first thing that is wrong."""
    manifest = read(folder)
    _check_files(folder, manifest)
    config = _check_config(folder, manifest)
    _check_dial(folder / "model.onnx", manifest, _check_graph(folder / "model.onnx", manifest))
    _check_runs(folder / "model.onnx", manifest, config)
    if manifest.halves:
        _check_halves(folder, manifest)
    known = {NAME, *manifest.files}
    extra = sorted(path.name for path in folder.iterdir() if path.name not in known and path.name != "__pycache__")
    return Verification(manifest, extra)


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name in REQUIRED:
        if name not in manifest.files:
            raise ArtifactError(f"{folder / NAME} does not list {name}: the artifact is incomplete.")
    for name, expected in manifest.files.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
            raise ArtifactError(f"{folder / NAME} names '{name}', which leaves the artifact's folder.")
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing: copy the whole folder again.")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path} is a link that leaves the artifact's folder.")
        try:
            found = sha256(path)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error}.") from error
        if found != expected:
            raise ArtifactError(f"{path} is not the file that was written (its SHA-256 differs): copy it again.")


def _check_config(folder: Path, manifest: Manifest) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from error
    if not isinstance(config, dict) or "compressor" in config or config.get("model_type") in (None, "compressor"):
        raise ArtifactError(f"{path} does not name a stock model type, so that ORTModel and pipeline would refuse it.")
    named = config.get("id2label", {})
    if manifest.labels and [named.get(str(place)) for place in range(len(manifest.labels))] != manifest.labels:
        raise ArtifactError(f"{path} and {NAME} have different labels.")
    if manifest.task == "text-regression" and (len(named) != 1 or config.get("problem_type") != "regression"):
        raise ArtifactError(f"{path} does not say that the model gives one number (id2label, problem_type).")
    return config


def _check_graph(path: Path, manifest: Manifest) -> onnx.ModelProto:
    """The graph, if it is a valid one of this artifact."""
    import onnx

    from compressor.graph import metadata
    from compressor.graph.passes.nodes import graphs

    try:
        model = onnx.load(str(path), load_external_data=False)
        outside = [tensor.name for graph in graphs(model.graph) for tensor in graph.initializer if tensor.external_data]
        if outside:
            raise ArtifactError(
                f"{path} keeps the weights '{outside[0]}' in another file, which an artifact never does."
            )
        onnx.checker.check_model(model)
    except ArtifactError:
        raise
    except Exception as error:  # protobuf and the checker raise several kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ArtifactError(f"{path} is not a valid ONNX graph: {reason[0]}.") from error
    entries = metadata.of_model(model)
    for name, expected in (("task", manifest.task), ("recipe_hash", manifest.request_key)):
        if entries.get(name) != expected:
            raise ArtifactError(f"{path} says {name} = {entries.get(name)!r}, {NAME} says {expected!r}.")
    return model


def _check_dial(path: Path, manifest: Manifest, model: onnx.ModelProto) -> None:
    from compressor.graph import dial

    kind = dial.kind(model)
    if (manifest.dial.kind if manifest.dial else None) != kind:
        raise ArtifactError(f"{path} and {NAME} disagree about the length dial.")
    if manifest.dial and kind != "required":
        try:
            default = dial.default(path) or []
        except PassError as error:
            raise ArtifactError(str(error)) from error
        same = len(default) == len(manifest.dial.default) and np.allclose(default, manifest.dial.default, atol=1e-6)
        if not same:
            raise ArtifactError(f"{path} has another default of the length dial than {NAME}.")


def _check_halves(folder: Path, manifest: Manifest) -> None:
    """Each half is a graph of this artifact that reads and gives what the other one and the task need."""
    from compressor.graph.halves import LOWER, MASK, STATES, UPPER

    ends = {LOWER: ({"input_ids", MASK}, {STATES}), UPPER: ({STATES, MASK}, {*_OUTPUTS[manifest.task]})}
    for name, (reads, gives) in ends.items():
        if name not in manifest.files:
            raise ArtifactError(f"{folder / NAME} does not list {name}: the artifact is incomplete.")
        graph = _check_graph(folder / name, manifest).graph
        inputs, outputs = ({value.name for value in values} for values in (graph.input, graph.output))
        if not reads <= inputs or outputs != gives:
            raise ArtifactError(f"{folder / name} is no half of {folder / 'model.onnx'}: its inputs are other ones.")


def _check_runs(path: Path, manifest: Manifest, config: dict[str, Any]) -> None:
    """Run short rows in a process of its own, on the CPU provider, at the default and at a low dial setting."""
    from compressor.devices.outputs import run_features

    vocabulary = int(config.get("vocab_size") or 1)
    rows = []
    for length in _LENGTHS:
        inputs = {"input_ids": [place % vocabulary for place in range(length)], "attention_mask": [1] * length}
        inputs["token_type_ids"] = [0] * length
        rows.append(Feature(inputs, {}, 0))
    profile = DeviceProfile(name="verify", description="", providers=[Provider(name="CPUExecutionProvider")], threads=1)
    names = _OUTPUTS[manifest.task]
    whole = manifest.task in TEXT_TASKS
    outputs_each = 1 if manifest.task == "text-regression" else len(manifest.labels)
    keeps: list[list[float] | None] = [None]
    if manifest.dial and manifest.dial.kind == "required":
        keeps = [manifest.dial.default]
    if manifest.dial and manifest.dial.kind != "fixed":
        keeps.append([0.5] * manifest.dial.layers)
    for keep in keeps:
        try:
            outputs = run_features(path, profile, rows, keep, token_outputs=() if whole else names, timeout_s=300)
        except DeviceError as error:
            raise ArtifactError(f"{path} does not run: {error}") from error
        for row, values in zip(rows, outputs, strict=True):
            for name in names:
                shape: tuple[int, ...] = () if whole else (row.length,)
                shape += (outputs_each,) if outputs_each else ()
                if name not in values or values[name].shape != shape:
                    raise ArtifactError(f"{path} does not give '{name}' of the shape that {manifest.task} needs.")
                if not np.isfinite(values[name]).all():
                    raise ArtifactError(f"{path} gives infinite or undefined '{name}'.")
