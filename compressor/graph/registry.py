"""The graph passes by name, as `stages/registry.py` has the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from compressor.config.device import DeviceProfile
from compressor.graph.context import PassContext, PassResult
from compressor.models.config_file import read_config
from compressor.models.structure import Structure
from compressor.registry import load, look_up

RunPass = Callable[[Path, Path, object, PassContext], PassResult]
"""`run(source, target, settings, context)`: read the graph `source`, write `target`, never change `source`."""


@dataclass(frozen=True)
class PassSpec:
    """What is known of a pass without importing it.

    `measures`: its result depends on device and host. `flat`: of a graph that can stop early it gets the form in which
    every layer runs (see `graph.stopping`).
    """

    name: str
    family: str
    paper: str
    summary: str
    changes: str
    settings: str
    run: str
    version: int
    reads: tuple[str, ...] = ()
    measures: bool = False
    flat: bool = False

    def load_settings(self) -> type:
        """The settings dataclass."""
        return cast(type, load(self.settings))

    def parts_needed(self, settings: object, device: DeviceProfile) -> tuple[str, ...]:
        """The data parts without which it cannot work with these settings: all that it reads, unless they say less."""
        by_settings: Callable[[DeviceProfile], tuple[str, ...]] | None = getattr(settings, "needs", None)
        return by_settings(device) if by_settings else self.reads

    def load_run(self) -> RunPass:
        """The function that does the work."""
        return cast(RunPass, load(self.run))


PASSES: dict[str, PassSpec] = {
    spec.name: spec
    for spec in (
        PassSpec(
            name="fuse",
            family="graph",
            paper="ONNX Runtime transformer fusions",
            summary="fuse attention, layer norm, GELU and embeddings; a miss is an error",
            changes="speed on ONNX Runtime",
            settings="compressor.graph.passes.fuse.settings:FuseSettings",
            run="compressor.graph.passes.fuse.fuse:run",
            version=2,
            flat=True,
        ),
        PassSpec(
            name="quantize",
            family="quantization",
            paper="Jacob et al. 2018; NNCF",
            summary="int8 weights and activations, dynamic or static",
            changes="size, speed on ONNX Runtime's CPU; as Q/DQ pairs on TensorRT, OpenVINO",
            settings="compressor.graph.passes.quantize.settings:QuantizeSettings",
            run="compressor.graph.passes.quantize.quantize:run",
            version=5,
            reads=("calibration", "search"),
            flat=True,
        ),
        PassSpec(
            name="quantize_weights",
            family="quantization",
            paper="Frantar et al. 2022 (GPTQ); Lin et al. 2023 (AWQ)",
            summary="weights of 4 or 8 bits in blocks, by NNCF or Neural Compressor; float activations",
            changes="size, on ONNX Runtime 1.17 or newer",
            settings="compressor.graph.passes.quantize_weights.settings:QuantizeWeightsSettings",
            run="compressor.graph.passes.quantize_weights.quantize_weights:run",
            version=2,
            reads=("calibration",),
            flat=True,
        ),
        PassSpec(
            name="cast",
            family="quantization",
            paper="Micikevicius et al. 2018",
            summary="float16 weights and arithmetic",
            changes="size, speed on GPUs and where float16 is fast",
            settings="compressor.graph.passes.cast.settings:CastSettings",
            run="compressor.graph.passes.cast.cast:run",
            version=1,
            flat=True,
        ),
        PassSpec(
            name="search_lengths",
            family="dynamic inference",
            paper="Kim & Cho 2020, section 3.4",
            summary="evolutionary search of length configurations on the finished graph",
            changes="speed (chooses the dial's default)",
            settings="compressor.graph.passes.search_lengths.settings:SearchLengthsSettings",
            run="compressor.graph.passes.search_lengths.search:run",
            version=2,
            reads=("search",),
            measures=True,
        ),
        PassSpec(
            name="search_depth",
            family="dynamic inference",
            paper="Eyzaguirre et al. 2022; Xin et al. 2020; Zhou et al. 2020",
            summary="the depth dial's default: fewest layers within a loss, on the finished graph",
            changes="speed (chooses the dial's default)",
            settings="compressor.graph.passes.search_depth.settings:SearchDepthSettings",
            run="compressor.graph.passes.search_depth.search:run",
            version=2,
            reads=("search",),
        ),
        PassSpec(
            name="set_lengths",
            family="dynamic inference",
            paper="Kim & Cho 2020",
            summary="a length configuration by hand: the same share of the tokens in every layer, or a list",
            changes="speed (the dial's default)",
            settings="compressor.graph.passes.set_lengths.settings:SetLengthsSettings",
            run="compressor.graph.passes.set_lengths.set_lengths:run",
            version=1,
        ),
    )
}


def run_pass(spec: PassSpec, source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Run a pass on a graph, in the form that it works on; the result is as it is deployed."""
    run = spec.load_run()
    structure = Structure.from_config(read_config(context.checkpoint.path))
    if not spec.flat or structure.adaptive_depth is None:
        return run(source, target, settings, context)
    from compressor.graph import stopping
    from compressor.graph.files import load, save

    flat = target.with_name(f"flat-{target.name}")
    model = load(source)
    stopping.unnest(model)
    save(model, flat)
    result = run(flat, target, settings, context)
    flat.unlink()
    model = load(target)
    stopping.nest(model)
    save(model, target)
    return result


def pass_spec(name: str, where: str = "") -> PassSpec:
    """Look a pass up by name; raises `UnknownNameError` with the nearest one."""
    return look_up("pass", name, PASSES, where)
