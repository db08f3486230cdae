"""Both halves of a model that keeps two texts apart below: cut, compared with the whole, and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.artifact import manifest
from compressor.artifact.manifest import Measurement
from compressor.artifact.sample import MIN_ROOM
from compressor.devices import inputs, measure
from compressor.devices.speed import Speed
from compressor.graph.halves import LOWER, MASK, STATES, UPPER, Halves
from compressor.models.config_file import read_config
from compressor.models.families import family_of
from compressor.models.structure import SplitLayers, Structure
from compressor.steps import Graph, Steps
from compressor.tasks.base import Feature

_ASKING, _REST, _READING = "first text", "both texts", "second text"


@dataclass(frozen=True)
class MadeHalves:
    """The files, what the manifest says of them, and how fast they are."""

    files: Halves
    entry: manifest.Halves
    measurements: list[Measurement]


def make_halves(steps: Steps, graph: Graph) -> MadeHalves | None:
    """Cut the final graph of a run in two; None: its model keeps no texts apart.

    Raises:
        PassError: The graph cannot be cut.
        ExportError: The halves of its plain export do not compute what that computes.
        DeviceError: They cannot be measured.
    """
    config = read_config(graph.checkpoint.path)
    structure = Structure.from_config(config)
    split = structure.split_layers
    if split is None or split.layers == 0 or structure.adaptive_depth is not None:
        return None
    folder, check = steps.halves(graph, layers=split.layers)
    files = Halves(folder / LOWER, folder / UPPER)
    tokenizer = steps.tokenizer(graph.checkpoint)
    separator = int(tokenizer.sep_token_id)
    family = family_of(config)
    entry = manifest.Halves(
        layers=split.layers,
        of_layers=family.layer_count(config),
        separator=separator,
        first_tokens=first_tokens(
            split,
            steps.task.max_length - tokenizer.num_special_tokens_to_add(pair=True),
            int(getattr(steps.task, "doc_stride", 0)),
        ),
        max_abs=check.max_abs,
        same=check.same,
        examples=check.examples,
    )
    speeds = _speeds(steps, files, steps.features(graph.checkpoint), separator, family.hidden_size(config))
    return MadeHalves(files, entry, _measurements(speeds))


def first_tokens(split: SplitLayers, room: int, stride: int) -> int:
    """The most tokens that a first text may have beside a second one that was read before.

    No more than half of the room, than leaves a window of the second text more than the overlap, and than lie before
    the second text's positions.
    """
    return max(1, min(room // 2, room - stride - MIN_ROOM, split.second_position - 2))


def _speeds(
    steps: Steps, files: Halves, features: Sequence[Feature], separator: int, width: int
) -> Mapping[str, Speed]:
    """Each half on texts of the data's own lengths, in turn, as the artifact is measured."""
    settings, device = steps.request.measure, steps.request.device
    both = settings.length or steps.task.max_length
    own = sorted(row.inputs["input_ids"].index(separator) + 1 for row in features if _is_pair(row, separator))
    first = min(own[len(own) // 2], both - 1)
    states = np.random.default_rng(0).standard_normal((settings.batch_size, both, width), dtype=np.float32)
    upper: dict[str, np.ndarray] = {STATES: states, MASK: np.ones(states.shape[:2], np.int64)}
    asking, reading = (inputs.of_length(features, length, settings.batch_size) for length in (first, both - first))
    rows = [
        measure.Row(_ASKING, files.lower, asking),
        measure.Row(_REST, files.upper, upper),
        measure.Row(_READING, files.lower, reading),
    ]
    with steps.progress.bar("measure the halves", len(rows) * (settings.rounds + 1)) as bar:
        return measure.measure_many(rows, device, settings, on_step=lambda name: bar.advance(note=name))


def _is_pair(row: Feature, separator: int) -> bool:
    return separator in row.inputs["input_ids"][:-1]


def _measurements(speeds: Mapping[str, Speed]) -> list[Measurement]:
    asking, rest, reading = (speeds[name] for name in (_ASKING, _REST, _READING))
    return [
        Measurement(
            name="latency p50 where the second text was read before",
            value=asking.p50_ms + rest.p50_ms,
            unit="ms",
            how=f"{LOWER} on a first text of {asking.length} tokens ({asking.p50_ms:.2f} ms) and {UPPER} on both, "
            f"{rest.length} tokens ({rest.p50_ms:.2f} ms), each measured as the artifact is",
            where=rest.measured_on,
            on_device=rest.on_device,
        ),
        Measurement(
            name="reading a second text, p50",
            value=reading.p50_ms,
            unit="ms",
            how=f"{LOWER} on {reading.length} tokens, once for all first texts",
            where=reading.measured_on,
            on_device=reading.on_device,
        ),
    ]
