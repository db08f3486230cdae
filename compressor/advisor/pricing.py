"""What candidates cost on the device, untrained: models of their shapes with random weights, measured or predicted."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from compressor.advisor import cost_model
from compressor.advisor.features import memory_features, size_parts, time_features
from compressor.advisor.graphs import Graphs
from compressor.advisor.limits import Limit
from compressor.advisor.prices import Calibration, Item, Price, Priced, Prices, beyond, borderline, out_of_memory
from compressor.advisor.settings import AdviseSettings
from compressor.cache import Cache, make_key
from compressor.config.run import TEXT_TASKS, TaskName
from compressor.config.schema import to_mapping
from compressor.devices import host, inputs, measure
from compressor.devices.place import place_for
from compressor.errors import ExportError, FusionError, PassError, RequestError, StorageError
from compressor.foretell import final_config, refuse_the_impossible
from compressor.models import checkpoint as checkpoints
from compressor.models import macs
from compressor.models.structure import Structure, with_structure
from compressor.progress import Progress
from compressor.request import PassEntry, Request
from compressor.stages.context import Checkpoint

VERSION = 2
"""Raised when prices are taken otherwise."""
_OF_BOARD = ("machine", "cpu", "board", "cores", "flags", "memory_mb", "onnxruntime")
"""What a board says of itself that its prices depend on."""


def shape_config(request: Request, teacher: Mapping[str, Any], task: TaskName) -> dict[str, Any]:
    """The `config.json` that a candidate's stages leave; raises `RequestError` where they do not fit the teacher."""
    refuse_the_impossible(request, teacher, to_measure=False)
    config = final_config(request, teacher)
    structure = Structure.from_config(config)
    if structure.length_adaptive is None:
        return config
    by_first = task in TEXT_TASKS
    adaptive = dataclasses.replace(structure.length_adaptive, restore=not by_first, protect_first=by_first)
    return with_structure(config, dataclasses.replace(structure, length_adaptive=adaptive))


class Pricer:
    """Measures and predicts candidates of one question; what was measured once is found in the cache."""

    def __init__(
        self, request: Request, settings: AdviseSettings, cache: Cache, progress: Progress, length: int
    ) -> None:
        self.request = request
        self.settings = settings
        self.cache = cache
        self.progress = progress
        self.length = length
        self.failed: dict[str, str] = {}  # candidates that cannot be made or do not run, and why

    def measured(self, items: Sequence[Item]) -> dict[str, Price]:
        """Prices by name, all that are not known yet measured in one go, in turn.

        A candidate whose graph cannot be made, or that runs out of memory, has none; `failed` says why. Raises
        `DeviceError` where the device cannot be reached or a graph does not run for another reason.
        """
        items = [item for item in items if item.name not in self.failed]
        keys = {item.name: self._key(item) for item in items}
        unknown = [item for item in items if self.cache.find(keys[item.name]) is None]
        if unknown:
            for name, found in self.measured_anew(unknown).items():
                self.cache.get_or_make(keys[name], f"price of {name}", functools.partial(_known, found))
        prices = {}
        for item in items:
            if item.name in self.failed:
                continue
            entry = self.cache.find(keys[item.name])
            if entry is None:
                raise StorageError(f"the price of {item.name} went out of the cache: is something cleaning it?")
            speed = entry.notes["speed"]
            prices[item.name] = Price(
                speed["p50_ms"], speed["peak_memory_mb"], entry.notes["size_bytes"] / 1e6, "measured", speed
            )
        return prices

    def measured_anew(self, items: Sequence[Item]) -> dict[str, dict[str, Any]]:
        """Notes by name, whatever is known already: the speed as a mapping and the file's size in bytes."""
        with TemporaryDirectory(prefix="compressor-prices-") as folder:
            return self._measure(items, Path(folder))

    def features(self, item: Item) -> dict[str, float]:
        """What its time is a sum of."""
        candidate = item.candidate
        return time_features(
            item.config,
            candidate.number_format,
            candidate.keep,
            length=self.length,
            batch_size=self.request.measure.batch_size,
            task=self.request.task,
        )

    def calibrate(self, items: Sequence[Item], prices: Mapping[str, Price]) -> Calibration:
        """A cost model from measured candidates."""
        shapes = [self.features(item) for item in items]
        p50 = [prices[item.name].p50_ms for item in items]
        known = [(item, price) for item in items if (price := prices[item.name]).memory_mb]
        loads = [self._memory(item, price.size_mb) for item, price in known]
        memory = None
        if loads and len(loads) >= len(loads[0]):  # as many as there are figures to find
            memory = cost_model.fit(loads, [float(price.memory_mb or 0) for _, price in known])
        rest = [prices[item.name].size_mb - self._weights(item) for item in items]
        parts = np.asarray([self._beside(item) for item in items])
        size, *_ = np.linalg.lstsq(parts, np.asarray(rest), rcond=None)
        errors = cost_model.left_out_errors(shapes, p50) if len(items) > 2 else []
        return Calibration(
            p50=cost_model.fit(shapes, p50),
            memory=memory,
            size=[float(value) for value in size],
            shapes=[item.name for item in items],
            errors=errors,
        )

    def predicted(self, item: Item, model: Calibration) -> Price:
        """A price by the cost model."""
        size = self._weights(item) + float(np.dot(self._beside(item), model.size))
        memory = None if model.memory is None else model.memory.predict(self._memory(item, size))
        return Price(model.p50.predict(self.features(item)), memory, size, "predicted")

    def _weights(self, item: Item) -> float:
        return size_parts(item.config, item.candidate.number_format, item.steps.task)

    def _beside(self, item: Item) -> list[float]:
        layers, number_format = float(item.candidate.shape.layers), item.candidate.number_format
        return [layers, layers * item.candidate.shape.adaptive, layers * (number_format != "float32"), 1.0]

    def _memory(self, item: Item, size_mb: float) -> dict[str, float]:
        return memory_features(item.config, size_mb, length=self.length, batch_size=self.request.measure.batch_size)

    def _key(self, item: Item) -> str:
        config = {key: value for key, value in item.config.items() if key not in ("architectures", "_name_or_path")}
        return make_key(
            "price",
            {
                "version": VERSION,
                "config": config,
                "task": self.request.task,
                "labels": len(item.steps.task.labels),
                "passes": item.candidate.passes(),
                "device": to_mapping(self.request.device),
                "measure": to_mapping(self.request.measure),
                "length": self.length,
                "dial": self.request.dial,
                "opset": self.request.opset,
                "host": self._machine,
            },
        )

    @functools.cached_property
    def _machine(self) -> dict[str, Any]:
        """What prices depend on of the machine that they are taken on: all of this one, or what a board says of itself.

        This machine makes a board's graphs, so that its libraries count there too.
        """
        profile = self.request.device
        if profile.host is None:
            return host.describe()
        with place_for(profile) as place:
            facts = place.facts or {}
        return {**{name: facts.get(name) for name in _OF_BOARD}, "libraries": host.versions()}

    def _measure(self, items: Sequence[Item], folder: Path) -> dict[str, dict[str, Any]]:
        settings = self.request.measure
        rows: list[measure.Row] = []
        by_shape: dict[tuple[int, str], list[Item]] = {}
        for item in items:
            by_shape.setdefault((id(item.steps), item.candidate.shape.name), []).append(item)
        with self.progress.bar("price shapes", len(items) * (settings.rounds + 2)) as bar:
            for place, group in enumerate(by_shape.values()):
                work = folder / "work"
                work.mkdir()
                graphs = Graphs(group[0].steps, _random_checkpoint(group[0], work), work)
                given = inputs.of_length(
                    group[0].steps.features(group[0].steps.teacher), self.length, settings.batch_size
                )
                for number, item in enumerate(group):
                    bar.advance(note=item.name)
                    try:
                        made = graphs.of([_quick(entry) for entry in item.request.passes])
                    except (ExportError, PassError, FusionError) as error:
                        self.failed[item.name] = str(error)
                        continue
                    kept = folder / f"{place}-{number}.onnx"
                    shutil.copyfile(made.path, kept)
                    rows.append(measure.Row(item.name, kept, given, made.keep))
                shutil.rmtree(work)
            speeds = measure.measure_many(
                rows,
                self.request.device,
                settings,
                on_step=lambda name: bar.advance(note=name),
                may_fail=[row.name for row in rows],
            )
            reason = out_of_memory(self.request.device)
            self.failed |= {row.name: reason for row in rows if row.name not in speeds}
            sizes = {row.name: row.model_path.stat().st_size for row in rows}
        return {name: {"speed": speed.to_mapping(), "size_bytes": sizes[name]} for name, speed in speeds.items()}


def price_all(items: Sequence[Item], impossible: Mapping[str, str], limits: Sequence[Limit], pricer: Pricer) -> Prices:
    """Measure all candidates where they are few; otherwise calibrate, predict, and measure those near a limit."""
    settings = pricer.settings
    _require(items, impossible)
    calibration, margin = None, 0.0
    if len(items) <= settings.calibration:
        prices = pricer.measured(items)
    else:
        places = cost_model.choose([pricer.features(item) for item in items], settings.calibration)
        pricer.progress.line(f"pricing {len(items)} candidates from {len(places)} measured shapes")
        known = pricer.measured([items[place] for place in places])
        _require(known, pricer.failed)
        calibration = pricer.calibrate([item for item in items if item.name in known], known)
        margin = max(settings.margin, calibration.margin)
        others = [item for item in items if item.name not in known and item.name not in pricer.failed]
        prices = known | {item.name: pricer.predicted(item, calibration) for item in others}
        near = borderline(prices, limits, margin)[: settings.measured]
        prices = beyond(prices | pricer.measured([item for item in items if item.name in near]), margin)
    _require(prices, pricer.failed)
    made = [item for item in items if item.name not in pricer.failed]
    measured = [price.speed for price in prices.values() if price.speed]
    baselines = [speed["baseline_memory_mb"] for speed in measured if speed["baseline_memory_mb"]]
    return Prices(
        priced=[
            Priced(item.candidate, item.request, item.config, _macs(item, pricer.length), prices[item.name])
            for item in made
        ],
        impossible={**impossible, **pricer.failed},
        calibration=calibration,
        margin=margin,
        measured_on=str(measured[0]["measured_on"]),
        on_device=bool(measured[0]["on_device"]),
        baseline_mb=min(baselines, default=None),
        length=pricer.length,
    )


def _known(notes: dict[str, Any], output: Path, work: Path) -> dict[str, Any]:
    """What an entry of the cache is made of that is known already."""
    return notes


def _require(there: Sequence[Item] | Mapping[str, Price], reasons: Mapping[str, str]) -> None:
    if not there:
        raise RequestError(f"no candidate of the grid has a price: {next(iter(reasons.values()))}")


def _random_checkpoint(item: Item, folder: Path) -> Checkpoint:
    """A checkpoint of the candidate's shape with random weights."""
    path = folder / "checkpoint"
    model = checkpoints.build(item.config, item.steps.task, where=item.name, seed=item.request.seed)
    checkpoints.save(model, item.steps.tokenizer(item.steps.teacher), path)
    return Checkpoint(path, f"random-{item.candidate.shape.name}")


def _quick(entry: PassEntry) -> PassEntry:
    """A pass without what only accuracy needs: a calibration on a few examples, no smoothing."""
    if entry.spec.name != "quantize":
        return entry
    return dataclasses.replace(entry, settings=dataclasses.replace(entry.settings, smooth="off", samples=4))


def _macs(item: Item, length: int) -> int:
    structure = Structure.from_config(item.config)
    layers, keep = item.candidate.shape.layers, item.candidate.keep
    kept = [keep ** (layer + 1) for layer in range(layers)] if structure.length_adaptive else None
    return macs.count(item.config, structure, length=length, keep=kept, task=item.steps.task.name)
