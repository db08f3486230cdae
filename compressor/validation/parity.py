"""Does the float32 graph compute what the PyTorch checkpoint computes? On real rows, in every shape that matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import ExportError
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.stages.context import Checkpoint

ROWS = 12
"""Real rows that are compared, from the shortest to the longest."""
TIES = 0.05
"""Share of rows with dropped tokens or an early halt that may differ because a choice stood on the edge."""

HALTING = "halting"
"""Name of the cases in which rows leave layers out."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """Largest and mean |difference| of the outputs at real tokens, and the largest by case.

    A rounding error can turn round two tokens of equal significance, and then the token that stays is another one; or
    it lets a row halt a layer sooner or later. `ties` counts such rows (above the tolerance, only where tokens are
    dropped or layers left out, at most `TIES` of those rows); they are left out of `max_abs`.
    """

    max_abs: float
    mean_abs: float
    rows: int
    ties: int = 0
    cases: dict[str, float] = field(default_factory=dict)


def compare(
    checkpoint: Checkpoint | Path,
    graph: Path,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    tolerance: float = 1e-3,
) -> Parity:
    """Compare both on single rows of several lengths, on batches padded right and left, and at several `keep`.

    Rows are made of `examples`; a row cut to one token and one of padding alone are in the batches (of the latter
    only finite numbers are asked). Of a model trained for int8, both are compared without the rounding of activations
    (`graph.quantized.write_unrounded` says why). Raises `ExportError` when the graph does not run or has other outputs.
    """
    from compressor.models.checkpoint import load, structure_of
    from compressor.models.kinds.quantizers import unrounded_inputs

    path = checkpoint if isinstance(checkpoint, Path) else checkpoint.path
    model = load(path, task)
    if structure_of(model).quantizers is not None:
        with TemporaryDirectory() as folder, unrounded_inputs(model):
            return _compare(model, _unrounded(graph, Path(folder)), task, tokenizer, examples, tolerance)
    return _compare(model, graph, task, tokenizer, examples, tolerance)


def _unrounded(graph: Path, folder: Path) -> Path:
    from compressor.graph.quantized import write_unrounded

    write_unrounded(graph, folder / graph.name)
    return folder / graph.name


def _compare(
    model: Any,
    graph: Path,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    tolerance: float,
) -> Parity:
    rows = _spread(task.features(examples, tokenizer, labelled=False))
    lengths = _keeps(model, fixed_keep(graph))
    found = []
    for name, setting in _settings(model, graph).items():
        runners = _torch_runner(model, task, setting), _graph_runner(graph, task, setting)
        keeps = {", ".join(filter(None, (name, key))): keep for key, keep in lengths.items()}
        pad_id = tokenizer.pad_token_id or 0
        found.append(
            compare_models(*runners, task, rows, keeps, pad_id=pad_id, tolerance=tolerance, halts=name == HALTING)
        )
    return _together(found)


def compare_models(
    reference: Any,
    candidate: Any,
    task: Task,
    rows: Sequence[Feature],
    keeps: Mapping[str, Sequence[float] | None],
    *,
    pad_id: int = 0,
    tolerance: float = 1e-3,
    halts: bool = False,
) -> Parity:
    """`compare` for two functions (batch, keep) -> outputs by name, each an array [batch, ...].

    `halts`: rows may leave layers out.
    """
    worst: dict[str, float] = {}
    full: list[np.ndarray] = []
    dropped: list[np.ndarray] = []
    for keep_name, keep in keeps.items():
        for shape, batch in _batches(rows, pad_id):
            differences = _differences(reference(batch, keep), candidate(batch, keep), batch, task, shape)
            (dropped if halts or (keep is not None and min(keep) < 1) else full).extend(differences)
            case = f"{shape}, {keep_name}" if keep_name else shape
            worst[case] = max((float(row.max()) for row in differences), default=0.0)
    ties = [row for row in dropped if row.max() > tolerance]
    if len(ties) <= TIES * len(dropped):
        dropped = [row for row in dropped if row.max() <= tolerance]
    else:
        ties = []
    compared = full + dropped
    return Parity(
        max_abs=max(float(row.max()) for row in compared),
        mean_abs=float(np.mean(np.concatenate([row.reshape(-1) for row in compared]))),
        rows=len(compared) + len(ties),
        ties=len(ties),
        cases=worst,
    )


def _spread(features: Sequence[Feature]) -> list[Feature]:
    """Up to `ROWS` features, evenly from the shortest to the longest."""
    if not features:
        raise ExportError("there is no example to compare the graph with PyTorch on.")
    ordered = sorted(features, key=lambda feature: feature.length)
    places = np.unique(np.linspace(0, len(ordered) - 1, ROWS).round().astype(int))
    return [ordered[place] for place in places]


def _batches(rows: Sequence[Feature], pad_id: int) -> Iterator[tuple[str, Batch]]:
    middle, longest = rows[len(rows) // 2], rows[-1]
    for name, row in (("shortest", rows[0]), ("middle", middle), ("longest", longest)):
        yield f"{name} row ({row.length} tokens)", _pad([row], pad_id)
    mixed = [*rows[:: max(1, len(rows) // 4)], longest]
    yield f"batch of {len(mixed)}, padded right", _pad(mixed, pad_id)
    yield f"batch of {len(mixed)}, padded left", _pad(mixed, pad_id, left=True)
    one = Feature({name: values[:1] for name, values in middle.inputs.items()}, {}, 0)
    none = Feature({name: [] for name in middle.inputs}, {}, 0)
    yield "one token", _pad([one], pad_id)
    yield "beside one token and padding alone", _pad([one, middle, none], pad_id)


def _pad(rows: Sequence[Feature], pad_id: int, *, left: bool = False) -> Batch:
    width = max(row.length for row in rows)
    batch = {}
    for name in rows[0].inputs:
        matrix = np.full((len(rows), width), pad_id if name == "input_ids" else 0, dtype=np.int64)
        for place, row in enumerate(rows):
            part = slice(width - row.length, width) if left else slice(0, row.length)
            matrix[place, part] = row.inputs[name]
        batch[name] = matrix
    return batch


def _differences(reference: Batch, candidate: Batch, batch: Batch, task: Task, case: str) -> list[np.ndarray]:
    """|difference| of each row with a real token, at its real tokens; and of the layers it ran, if it may stop."""
    from compressor.graph.dial import BLOCKS_RUN

    mask = batch["attention_mask"].astype(bool)
    rows: list[list[np.ndarray]] = [[] for _ in mask]
    for name in task.output_names:
        if name not in candidate:
            raise ExportError(f"the graph has no output '{name}'.")
        first, second = reference[name].astype(np.float64), candidate[name].astype(np.float64)
        if first.shape != second.shape:
            raise ExportError(
                f"{case}: the graph gives '{name}' of shape {list(second.shape)}, PyTorch {list(first.shape)}."
            )
        for place, real in enumerate(mask):
            chosen = real if task.restores_tokens else slice(None)
            if real.any():
                rows[place].append(np.abs(first[place][chosen] - second[place][chosen]).reshape(-1))
            if real.any() and name == task.output_names[-1] and BLOCKS_RUN in reference:
                rows[place].append(np.abs(reference[BLOCKS_RUN][place : place + 1] - candidate[BLOCKS_RUN][place]))
    found = [np.concatenate(parts) for parts in rows if parts]
    return [np.where(np.isfinite(row), row, np.inf) for row in found]


def fixed_keep(graph: Path) -> list[float] | None:
    """The length configuration that a graph always runs at; None: it has no dial, or one that can be turned."""
    from compressor.graph import dial
    from compressor.graph.files import load

    return dial.default(graph) if dial.kind(load(graph, weights=False)) == "fixed" else None


def _keeps(model: Any, fixed: list[float] | None = None) -> dict[str, list[float] | None]:
    """Length configurations to compare at: all tokens, the default, a slope, a half from the first layer on.

    `fixed` is the only one of a graph whose dial cannot be turned.
    """
    from compressor.models.checkpoint import structure_of

    adaptive = structure_of(model).length_adaptive
    if adaptive is None:
        return {"": None}
    if fixed is not None:
        return {"fixed": fixed}
    layers = len(adaptive.keep)
    return {
        "all tokens": [1.0] * layers,
        "default": list(adaptive.keep),
        "slope": np.linspace(0.9, 0.2, layers).round(4).tolist(),
        "half": [0.5] * layers,
    }


def _settings(model: Any, graph: Path) -> dict[str, dict[str, float]]:
    """Depth dials to compare at, by name: one that runs all layers, and the default; `{}` for a model without.

    A dial that is a constant of the graph is compared where it stands.
    """
    from compressor.graph.dial import DEPTH_DIALS, NEVER, depth_default, depth_is_input
    from compressor.models.checkpoint import structure_of

    depth = structure_of(model).adaptive_depth
    if depth is None:
        return {"": {}}
    dial = DEPTH_DIALS[depth.method]
    if not depth_is_input(graph):
        fixed = depth_default(graph)
        return {HALTING: {dial: depth.setting if fixed is None else fixed}}
    return {"all layers": {dial: NEVER[depth.method]}, HALTING: {dial: depth.setting}}


def _together(found: Sequence[Parity]) -> Parity:
    """Several comparisons as one."""
    rows = sum(one.rows for one in found)
    return Parity(
        max_abs=max(one.max_abs for one in found),
        mean_abs=sum(one.mean_abs * one.rows for one in found) / max(1, rows),
        rows=rows,
        ties=sum(one.ties for one in found),
        cases={case: value for one in found for case, value in one.cases.items()},
    )


def _torch_runner(model: Any, task: Task, setting: Mapping[str, float] = MappingProxyType({})) -> Any:
    import torch

    from compressor.graph.dial import BLOCKS_RUN

    def run(batch: Batch, keep: Sequence[float] | None) -> Batch:
        extra: dict[str, Any] = {} if keep is None else {"keep": torch.tensor(keep, dtype=torch.float32)}
        if setting:
            extra["setting"] = next(iter(setting.values()))
        with torch.inference_mode():
            outputs = model(**{name: torch.from_numpy(value) for name, value in batch.items()}, **extra)
        also = [BLOCKS_RUN] if BLOCKS_RUN in outputs else []
        return {name: outputs[name].float().numpy() for name in (*task.output_names, *also)}

    return run


def _graph_runner(graph: Path, task: Task, setting: Mapping[str, float] = MappingProxyType({})) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no base class of its own for these
        raise ExportError(f"{graph.name} does not load in ONNX Runtime: {error}") from error
    known = {node.name for node in [*session.get_inputs(), *session.get_overridable_initializers()]}
    names = [node.name for node in session.get_outputs()]
    fixed = fixed_keep(graph)

    def run(batch: Batch, keep: Sequence[float] | None) -> Batch:
        feed = {name: value for name, value in batch.items() if name in known}
        feed |= {name: np.array([value], dtype=np.float32) for name, value in setting.items() if name in known}
        if keep is not None and "keep" in known:
            feed["keep"] = np.asarray(keep, dtype=np.float32)
        elif keep is not None and keep != fixed:
            raise ExportError(f"{graph.name} has no input 'keep' though its checkpoint is length-adaptive.")
        try:
            return dict(zip(names, session.run(names, feed), strict=True))
        except Exception as error:
            shape = list(batch["input_ids"].shape)
            raise ExportError(f"{graph.name} fails on input of shape {shape} at keep = {keep}: {error}") from error

    return run
