"""The manifest: everything that is known of an artifact, as a dataclass and as `manifest.json`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from compressor.config.run import TASK_NAMES
from compressor.errors import ArtifactError

NAME = "manifest.json"
FORMAT = 1
"""Raised when a reader of an older version would misunderstand the file."""

REPRODUCIBLE = {
    "the graph's shape and its MACs": "yes: they follow from the resolved recipe",
    "trained weights": "same machine, thread count and library versions only: sums are ordered by the hardware",
    "quantized values": "same weights, calibration data and onnxruntime version",
    "metric": "same file, data, onnxruntime version and instruction sets; int8 differs in the last digits elsewhere",
    "latency, memory, energy": "no: measured, and only true of the machine that is named beside them",
}
"""What a second run of the same request gives again, and what not."""

_KINDS = {dict: "mapping", list: "list", str: "text", int: "whole number", float: "number"}


def now() -> str:
    """This moment, as `created` has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One line of the stage table: the teacher, each stage's result, each pass's, the artifact."""

    name: str
    metric: float | None = None  # primary metric, points
    size_bytes: int | None = None  # of its ONNX file
    macs: int | None = None  # one row of the longest input
    p50_ms: float | None = None
    measured_on: str | None = None
    seconds: float | None = None  # time that the step took
    cached: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DialSetting:
    """One line of the dial table: a length configuration with what it gives and costs."""

    name: str
    keep: list[float]  # [layers]
    macs: int | None = None
    metric: float | None = None  # points
    p50_ms: float | None = None
    measured_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class KeptTokens:
    """A held-out text in tokens, and how many layers keep each of them at the default configuration."""

    tokens: list[str]  # [tokens]
    layers: list[int]  # [tokens]


@dataclass(frozen=True, kw_only=True)
class Dial:
    """The length dial: the kind of its input, the default configuration, and the table to choose from."""

    kind: str  # optional, required or fixed
    layers: int
    minimum: int
    default: list[float]
    full_macs: int | None = None
    metric_data: str = ""  # which part of the data the table's metric comes from
    settings: list[DialSetting] = field(default_factory=list)
    examples: list[KeptTokens] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class DepthExample:
    """A held-out text and the layers that it needed."""

    text: str
    blocks: int


@dataclass(frozen=True, kw_only=True)
class DepthSetting:
    """A value of the depth dial, with what the search part of the data gave there."""

    setting: float
    metric: float
    mean_blocks: float


@dataclass(frozen=True, kw_only=True)
class Depth:
    """The depth dial: its input, and how many layers the held-out texts needed at its default."""

    method: str  # dact, deebert or pabee
    input: str  # margin, entropy_threshold or patience
    kind: str  # optional or fixed
    layers: int
    default: float
    mean_blocks: float
    histogram: list[int]  # [layers] texts that needed 1, 2 ... layers
    full_macs: int | None = None  # all layers, one row of the longest input; exits are not counted
    mean_macs: int | None = None  # the same with the layers that the held-out texts needed
    settings: list[DepthSetting] = field(default_factory=list)  # what a search has tried
    early: list[DepthExample] = field(default_factory=list)
    late: list[DepthExample] = field(default_factory=list)

    @property
    def saves(self) -> bool:
        """Whether any text stopped before the last layer."""
        return any(self.histogram[: self.layers - 1])


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Both halves of a model that keeps two texts apart below, `lower.onnx` and `upper.onnx`, beside the whole one."""

    layers: int  # that read one text alone
    of_layers: int  # of the whole model
    separator: int  # id of the token that ends the first text
    first_tokens: int  # the most that a first text may have, so that a second one's windows need not know it
    max_abs: float  # largest difference of an output from model.onnx
    same: float  # share of the examples that both answer alike, 0 ... 1
    examples: int  # held-out ones that were compared
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of each file, as written


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured number with how and where it was taken."""

    name: str  # "f1", "latency p50" ...
    value: float | None  # None: not measured
    unit: str
    how: str
    where: str
    on_device: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about an artifact; plain JSON values inside.

    `request` is the resolved request (recipe, device, data, teacher, gates ...) and `request_key` its hash.
    `preprocessing` has max_length, doc_stride, pad_id and inputs; `decoding` n_best, max_answer_length and threshold.
    `speed` holds whole `Speed` mappings by name ("artifact", "teacher"). `files` has the SHA-256 of every other file.
    """

    task: str
    labels: list[str]
    multi_label: bool
    request: dict[str, Any]
    request_key: str
    command: list[str] = field(default_factory=list)  # the words of the command line that asked for it
    device: dict[str, Any]  # the profile
    teacher: dict[str, Any]  # name, metric, fingerprint
    data: dict[str, Any]  # name, sizes, fingerprints by part
    seed: int
    preprocessing: dict[str, Any]
    decoding: dict[str, Any]
    metrics: dict[str, float]  # points, the primary one first
    host: dict[str, Any]  # the machine that built and measured it, with library versions
    board: dict[str, Any] | None = None  # what the device says of itself, where it was reached by ssh
    board_check: dict[str, Any] | None = None  # its answers on a sample against this machine's (`BoardCheck`)
    agreement: dict[str, Any] | None = None
    parity: dict[str, Any] | None = None
    gates: list[dict[str, Any]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    speed: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: list[StageRow] = field(default_factory=list)
    passes: dict[str, dict[str, Any]] = field(default_factory=dict)
    dial: Dial | None = None
    depth: Depth | None = None
    halves: Halves | None = None
    versions: dict[str, str] = field(default_factory=dict)
    reproducible: dict[str, str] = field(default_factory=lambda: dict(REPRODUCIBLE))
    created: str = field(default_factory=now)
    weights: dict[str, float] = field(default_factory=dict)  # share of the weights' bytes by number format
    graph: str = ""  # SHA-256 of model.onnx before it says whose it is: one and the same in runs that differ elsewhere
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def title(self) -> str:
        """Recipe, task and device in one line."""
        recipe = self.request.get("recipe", {}).get("name", "model")
        return f"{recipe} for {self.task} on {self.device.get('name', 'a device')}"

    @property
    def metric_name(self) -> str:
        """The primary metric."""
        return next(iter(self.metrics), "metric")

    def to_json(self) -> str:
        """The text of `manifest.json`, numbers to twelve digits; infinite and undefined ones become null."""
        values = _plain(dataclasses.asdict(self))
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = NAME) -> Manifest:
        """Read `manifest.json`; raises `ArtifactError` for a damaged one, another program's, or a newer format."""
        try:
            values = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{where} is damaged: {error}.") from error
        if not isinstance(values, dict) or not isinstance(values.get("format"), int) or "request_key" not in values:
            raise ArtifactError(f"{where} was not written by compressor: it is not an artifact of ours.")
        if values["format"] < 1:
            raise ArtifactError(f"{where} is damaged: its format is {values['format']}.")
        if values["format"] > FORMAT:
            raise ArtifactError(
                f"{where} has format {values['format']}, this version reads up to {FORMAT}: install a newer compressor."
            )
        try:
            return _build(cls, values)
        except ValidationError as error:
            raise ArtifactError(f"{where} is damaged: {_first(error)}.") from error
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ArtifactError(f"{where} is damaged: {error}.") from error


def read(folder: Path) -> Manifest:
    """The manifest of an artifact; raises `ArtifactError` when the folder has none that can be read."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder: give the folder of an artifact.")
    return read_file(folder / NAME)


def read_file(path: Path) -> Manifest:
    """The manifest in a file, whatever its name is; raises `ArtifactError` for one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ArtifactError(f"{path.parent} has no {path.name}: it is not an artifact of ours.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}.") from error
    return Manifest.from_json(text, where=str(path))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text}, where none can be infinite or undefined")
    return value


def _plain(value: Any) -> Any:
    """JSON values without infinite or undefined numbers, and without the last digits that arithmetic has made up."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _build(cls: type[Manifest], values: Mapping[str, Any]) -> Manifest:
    """The manifest of these values. Entries that this version does not know are left out, however deep they stand."""
    if values.get("task") not in TASK_NAMES:
        raise ValueError(f"task is {values.get('task')!r}")
    for key, kind in _needed(values["task"], multi_label=values.get("multi_label") is True):
        _need(values, key, kind)
    manifest = TypeAdapter(cls).validate_json(to_json(values), strict=True)
    for setting in manifest.dial.settings if manifest.dial else []:
        _check_keep(f"keep of '{setting.name}'", setting.keep, manifest)
    if manifest.dial:
        _check_keep("default", manifest.dial.default, manifest)
        if any(len(example.tokens) != len(example.layers) for example in manifest.dial.examples):
            raise ValueError("an example of the dial has not one number of layers for each token")
    return manifest


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in words."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"'{key}' is missing"
    return f"'{key}' = {first['input']!r:.80}: {first['msg']}"


def _needed(task: str, *, multi_label: bool) -> list[tuple[str, type]]:
    """Entries that every reader relies on, by path, and what each must be."""
    mappings = ["files", "metrics", "preprocessing", "decoding", "request", "device", "teacher.metrics"]
    mappings += [f"request.{name}" for name in ("recipe", "data", "features", "export", "gates", "measure")]
    mappings += ["data.fingerprints"]
    counts = ["preprocessing.max_length", "preprocessing.pad_id"]
    if task == "question-answering":
        counts += ["preprocessing.doc_stride", "decoding.n_best", "decoding.max_answer_length"]
    numbers = ["request.export.parity_tolerance", *(["decoding.threshold"] if multi_label else [])]
    return [
        *((key, dict) for key in mappings),
        ("labels", list),
        *((key, int) for key in counts),
        *((key, float) for key in numbers),
        ("data.fingerprints.dev", str),
    ]


def _need(values: Mapping[str, Any], key: str, kind: type) -> None:
    value: Any = values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"'{key}' is missing or not a {_KINDS[kind]}")


def _check_keep(name: str, keep: Sequence[float], manifest: Manifest) -> None:
    layers = manifest.dial.layers if manifest.dial else 0
    if len(keep) != layers or not all(0 < fraction <= 1 for fraction in keep):
        raise ValueError(f"the dial's {name} is not a fraction for each of {layers} layers")
