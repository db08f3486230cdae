"""The grid: candidates, each a recipe of the project's own stages and passes. Pure and light."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.advisor.settings import AdviseSettings, WidthSettings
from compressor.config.device import DeviceProfile, NumberFormat
from compressor.devices.identity import is_this_machine
from compressor.errors import RequestError
from compressor.models.families import family_of

Steps = dict[str, dict[str, Any]]
SHORT: Mapping[NumberFormat, str] = {
    "float32": "fp32",
    "float16": "fp16",
    "dynamic_int8": "int8",
    "static_int8": "static",
}
"""Number formats as the names of candidates have them."""
_PASSES: Mapping[NumberFormat, Steps] = {
    "float32": {"fuse": {}},
    "float16": {"fuse": {}, "cast": {}},
    "dynamic_int8": {"fuse": {}, "quantize": {"mode": "dynamic"}},
    "static_int8": {"fuse": {}, "quantize": {"mode": "static"}},
}


@dataclass(frozen=True)
class Shape:
    """What is trained: a teacher cut to layers and widths, for one length or for any."""

    teacher: int  # its place in the list of teachers
    layers: int  # that stay
    of_layers: int  # that the teacher has
    heads: float = 1.0  # share that stays
    feed_forward: float = 1.0
    adaptive: bool = False

    @property
    def name(self) -> str:
        """Short and unique in a grid: `l3-w50`, `l3-h50f25-any` (any length), `t1-...` of a second teacher."""
        teacher = f"t{self.teacher}-" if self.teacher else ""
        heads, units = round(100 * self.heads), round(100 * self.feed_forward)
        width = f"w{heads}" if heads == units else f"h{heads}f{units}"
        return f"{teacher}l{self.layers}-{width}" + ("-any" if self.adaptive else "")

    @property
    def is_cut(self) -> bool:
        """Whether anything of the teacher is missing, so that it must be learned again."""
        return self.layers < self.of_layers or self.heads < 1 or self.feed_forward < 1

    @property
    def is_trained(self) -> bool:
        """Whether it costs training at all; the teacher itself does not."""
        return self.is_cut or self.adaptive

    def stages(self, settings: AdviseSettings, share: float = 1.0) -> Steps:
        """A recipe's stages, trained for a share of the full budget's epochs."""
        stages: Steps = {}
        if self.layers < self.of_layers:
            stages["drop_layers"] = {"keep": "every_other", "layers": self.layers}
        if self.heads < 1 or self.feed_forward < 1:
            stages["prune_widths"] = {"heads": self.heads, "feed_forward": self.feed_forward}
        if self.is_cut:
            stages["distill"] = _for_share(settings.distill, share)
        if self.adaptive:
            stages["length_adaptive"] = _for_share(settings.length_adaptive, share)
        return stages


@dataclass(frozen=True)
class Candidate:
    """A shape as it is deployed: number format, and how many tokens its layers keep."""

    shape: Shape
    number_format: NumberFormat
    keep: float = 1.0  # what each layer keeps of the tokens of the one before; 1: all

    @property
    def name(self) -> str:
        """The shape's, with the share of tokens in the place of `any`, and the number format."""
        lengths = f"-k{round(100 * self.keep)}" if self.shape.adaptive else ""
        return f"{self.shape.name.removesuffix('-any')}{lengths}-{SHORT[self.number_format]}"

    def passes(self) -> Steps:
        """A recipe's passes."""
        passes = {key: dict(values) for key, values in _PASSES[self.number_format].items()}
        return passes | ({"set_lengths": {"keep": self.keep}} if self.shape.adaptive else {})


def lay_out(teachers: Sequence[Mapping[str, Any]], settings: AdviseSettings, device: DeviceProfile) -> list[Candidate]:
    """Every combination that the grid asks for, each once.

    Args:
        teachers: The `config.json` of each.
        settings: Whose `grid` it is.
        device: Its profile allows the number formats.

    Raises:
        RequestError: Two widths or shares come to the same name, or the grid is empty.
    """
    grid = settings.grid
    if not (grid.layers and grid.widths and grid.keep):
        raise RequestError("advise.grid is empty: layers, widths and keep need at least one entry each.")
    shapes: dict[str, Shape] = {}
    for place, config in enumerate(teachers):
        total = family_of(config).layer_count(config)
        for layers, width, keep in itertools.product(grid.layers, grid.widths, grid.keep):
            inside = width if isinstance(width, WidthSettings) else WidthSettings(heads=width, feed_forward=width)
            kept = max(1, round(layers * total))
            shape = Shape(place, kept, total, inside.heads, inside.feed_forward, adaptive=keep < 1)
            shapes.setdefault(shape.name, shape)
    rates = [keep for keep in dict.fromkeys(grid.keep) if keep < 1]
    formats = allowed_formats(grid.formats, device)
    found = [
        Candidate(shape, number_format, keep)
        for shape in shapes.values()
        for number_format in formats
        for keep in (rates if shape.adaptive else [1.0])
    ]
    names = [candidate.name for candidate in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RequestError(f"advise.grid has shares too close to each other: two candidates would be called '{twice}'.")
    return found


def allowed_formats(asked: Sequence[NumberFormat] | str, device: DeviceProfile) -> list[NumberFormat]:
    """The grid's number formats, or float32 and the one that the device is fast at.

    The latter alone for a GPU that is not here: this machine's processor cannot tell which of the two is faster there.

    Raises:
        RequestError: float16 is asked for where only the CPU computes, which has no such kernels.
    """
    on_cpu = device.runs_on_cpu
    if isinstance(asked, str):
        can_tell = on_cpu or device.host is not None or is_this_machine(device)
        return list(dict.fromkeys(("float32", device.number_format) if can_tell else (device.number_format,)))
    if "float16" in asked and on_cpu and device.number_format != "float16":
        raise RequestError(
            f"advise.grid.formats: '{device.name}' runs on the CPU, where ONNX Runtime computes float16 in float32: "
            "leave float16 out."
        )
    if not asked:
        raise RequestError("advise.grid.formats is empty: name one, or auto.")
    return list(dict.fromkeys(asked))


def recipe(candidate: Candidate, settings: AdviseSettings, task: str) -> dict[str, Any]:
    """The candidate as a recipe file's content."""
    shape = candidate.shape
    parts = [f"{shape.layers} of {shape.of_layers} layers"]
    if shape.heads < 1 or shape.feed_forward < 1:
        parts.append(f"{shape.heads:.0%} of the heads and {shape.feed_forward:.0%} of the inner units")
    if shape.adaptive:
        parts.append(f"each layer keeps {candidate.keep:.0%} of the tokens")
    return {
        "name": recipe_name(candidate),
        "description": f"Advised: {', '.join(parts)}, {candidate.number_format}.",
        "task": task,
        "tasks": [task],
        "stages": shape.stages(settings),
        "passes": candidate.passes(),
    }


def recipe_name(candidate: Candidate) -> str:
    """What its recipe, and so the folder of its artifact, is called."""
    return f"advised-{candidate.name}"


def _for_share(values: Mapping[str, Any], share: float) -> dict[str, Any]:
    """A training stage's settings with a share of its epochs, and of its updates where they are limited."""
    changed = dict(values)
    if share < 1:
        changed["epochs"] = float(values.get("epochs", 3.0)) * share
        if values.get("max_steps") is not None:
            changed["max_steps"] = max(1, round(values["max_steps"] * share))
    return changed
