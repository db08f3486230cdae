"""The graph passes by name, as `stages/registry.py` has the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from compressor.graph.context import PassContext, PassResult
from compressor.registry import load, look_up

RunPass = Callable[[Path, Path, object, PassContext], PassResult]
"""`run(source, target, settings, context)`: read the graph `source`, write `target`, never change `source`."""


@dataclass(frozen=True)
class PassSpec:
    """What is known of a pass without importing it; `measures`: its result depends on device and host."""

    name: str
    paper: str
    summary: str
    changes: str
    settings: str
    run: str
    version: int
    reads: tuple[str, ...] = ()
    measures: bool = False

    def load_settings(self) -> type:
        """The settings dataclass."""
        return cast(type, load(self.settings))

    def load_run(self) -> RunPass:
        """The function that does the work."""
        return cast(RunPass, load(self.run))


PASSES: dict[str, PassSpec] = {
    spec.name: spec
    for spec in (
        PassSpec(
            name="fuse",
            paper="ONNX Runtime transformer fusions",
            summary="fuse attention, layer norm, GELU and embeddings; a miss is an error",
            changes="speed",
            settings="compressor.graph.passes.fuse.settings:FuseSettings",
            run="compressor.graph.passes.fuse.fuse:run",
            version=1,
        ),
        PassSpec(
            name="quantize",
            paper="Jacob et al. 2018; NNCF",
            summary="int8 weights and activations, dynamic or static",
            changes="size, speed",
            settings="compressor.graph.passes.quantize.settings:QuantizeSettings",
            run="compressor.graph.passes.quantize.quantize:run",
            version=2,
            reads=("calibration", "search"),
        ),
        PassSpec(
            name="cast",
            paper="Micikevicius et al. 2018",
            summary="float16 weights and arithmetic",
            changes="size, speed where float16 is fast",
            settings="compressor.graph.passes.cast.settings:CastSettings",
            run="compressor.graph.passes.cast.cast:run",
            version=1,
        ),
        PassSpec(
            name="search_lengths",
            paper="Kim & Cho 2020, section 3.4",
            summary="evolutionary search of length configurations on the finished graph",
            changes="speed (chooses the dial's default)",
            settings="compressor.graph.passes.search_lengths.settings:SearchLengthsSettings",
            run="compressor.graph.passes.search_lengths.search:run",
            version=2,
            reads=("search",),
            measures=True,
        ),
    )
}


def pass_spec(name: str, where: str = "") -> PassSpec:
    """Look a pass up by name; raises `UnknownNameError` with the nearest one."""
    return look_up("pass", name, PASSES, where)
