"""What each result depends on, as cache keys. Imports nothing heavy: `plan` and the pipeline share them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor import processor
from compressor.cache import make_key
from compressor.config.paths import expanded
from compressor.config.schema import to_mapping
from compressor.data.reading import require_readable
from compressor.devices import host
from compressor.disk import write_text
from compressor.models.locate import locate
from compressor.request import PassEntry, Request, StageEntry

EXPORT_VERSION = 5
"""Raised when the export makes another graph of the same checkpoint and settings."""

_TRAINING = ("torch", "transformers", "tokenizers", "accelerate")
_EXPORT = ("torch", "transformers", "optimum", "optimum-onnx", "onnx")
_PASSES = ("onnx", "onnxruntime", "nncf", "neural-compressor")
_DESCRIBING = (
    "description", "why", "sources", "identity", "power", "runtime_newest", "oldest_python", "emulated_cpu",
    "emulate", "host", "python", "system_memory_mb",
)  # fmt: skip
"""Settings of a device that change no file."""


@dataclass(frozen=True)
class Keys:
    """Keys of one request's results, given the fingerprints of its data."""

    request: Request
    labels: tuple[str, ...]
    fingerprints: Mapping[str, str]  # by data part

    def stage(self, entry: StageEntry, source: str, teacher: str) -> str:
        """A stage's checkpoint, made from the checkpoint `source`."""
        return make_key(
            entry.spec.name,
            {
                "settings": to_mapping(entry.settings),
                "version": entry.spec.version,
                "source": source,
                "teacher": teacher,
                "task": self._task(),
                "data": self._data(entry.spec.parts_read(entry.settings)),
                "seed": self.request.seed,
                "precision": precision(entry.settings),
                "libraries": versions(_TRAINING),
                **self._files(entry.settings),
            },
        )

    def export(self, source: str) -> str:
        """The graph of the checkpoint `source`."""
        return make_key(
            "export",
            {
                "version": EXPORT_VERSION,
                "source": source,
                "task": self._task(),
                "dial": self.request.dial,
                "opset": self.request.opset,
                "libraries": versions(_EXPORT),
            },
        )

    def graph_pass(self, entry: PassEntry, source: str, checkpoint: str) -> str:
        """The graph that a pass makes of the graph `source`, which was exported from `checkpoint`."""
        device = {key: value for key, value in to_mapping(self.request.device).items() if key not in _DESCRIBING}
        parts = {
            "settings": to_mapping(entry.settings),
            "version": entry.spec.version,
            "source": source,
            "checkpoint": checkpoint,
            "task": self._task(),
            "data": self._data(entry.spec.reads),
            "device": device,
            "seed": self.request.seed,
            "libraries": versions(_PASSES),
        }
        if entry.spec.measures:
            board = self.request.device.host
            parts["host"] = host.describe() if board is None else {"board": board}
        return make_key(entry.spec.name, parts)

    def kept(self, kind: str, parts: Mapping[str, Any], source: Path) -> str:
        """What a stage found out of the checkpoint in `source`, for all that ask the same."""
        files = folder_fingerprint(source, self.request.output / ".cache" / ".fingerprints.json")
        return make_key(kind, {**parts, "version": 1, "source": files, "libraries": versions(_TRAINING)})

    def parity(self, plain: str) -> str:
        """How closely the plain export follows PyTorch."""
        return make_key(
            "parity",
            {
                "version": 1,
                "graph": plain,
                "data": self._data(("dev",)),
                "tolerance": self.request.export.parity_tolerance,
                "libraries": versions(("onnxruntime", "torch")),
            },
        )

    def halves(self, graph: str, plain: str) -> str:
        """Both halves of a graph, and how closely they follow it and those of its plain export follow that."""
        return make_key(
            "halves",
            {
                "version": 1,
                "graph": graph,
                "plain": plain,
                "data": self._data(("dev",)),
                "tolerance": self.request.export.parity_tolerance,
                "libraries": versions(("onnx", "onnxruntime")),
            },
        )

    def evaluation(self, graph: str, checkpoint: str, keep: Sequence[float] | None) -> str:
        """Metric of a graph on the held-out data."""
        machine = {key: value for key, value in host.describe().items() if key in ("cpu", "flags", "machine")}
        return make_key(
            "evaluation",
            {
                "version": 1,
                "graph": graph,
                "checkpoint": checkpoint,
                "keep": None if keep is None else list(keep),
                "task": self._task(),
                "data": self._data(("dev",)),
                "providers": to_mapping(self.request.device)["providers"],
                "host": machine,
                "libraries": versions(("onnxruntime",)),
            },
        )

    def _files(self, settings: Any) -> dict[str, Any]:
        """Contents of what a stage's settings name by `files()` and `checkpoints()`; nothing where they name nothing.

        Raises `DataError` for a file that cannot be read, `CheckpointError` for a checkpoint that is not there.
        """
        files = settings.files() if hasattr(settings, "files") else []
        folders = settings.checkpoints() if hasattr(settings, "checkpoints") else []
        if not files and not folders:
            return {}
        for path in files:
            require_readable(expanded(path))
        memo = self.request.output / ".cache" / ".fingerprints.json"
        found = {path: file_fingerprint(expanded(path)) for path in files}
        return {"files": found | {path: folder_fingerprint(locate(path), memo) for path in folders}}

    def _task(self) -> dict[str, Any]:
        return {"name": self.request.task, "features": to_mapping(self.request.features), "labels": list(self.labels)}

    def _data(self, parts: Sequence[str]) -> dict[str, str]:
        return {part: self.fingerprints[part] for part in parts}


def precision(settings: Any) -> str | None:
    """The number format that a training stage computes in here; None for a stage that does not train."""
    asked: str | None = getattr(settings, "precision", None)
    if asked != "auto":
        return asked
    if processor.torch_sees_gpu():
        return "gpu"
    return "bfloat16" if processor.fast_bfloat16() else "float32"


def versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of installed libraries."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def file_fingerprint(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_fingerprint(folder: Path, memo: Path) -> str:
    """SHA-256 over names and contents of a checkpoint's files; `memo` remembers large files by size and time."""
    known = _known(memo)
    seen = dict(known)
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        stat = file.stat()
        tag = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        if tag not in seen:
            seen[tag] = file_fingerprint(file)
        whole.update(f"{file.name} {seen[tag]}\n".encode())
    if seen != known:
        with suppress(OSError):  # the memo only saves time
            write_text(memo, json.dumps(seen))
    return whole.hexdigest()


def _known(memo: Path) -> dict[str, str]:
    try:
        found = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {str(tag): value for tag, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}
    )
