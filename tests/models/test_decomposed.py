"""Products of two small matrices in the place of one, and layers that share weights: as models, files and graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compressor.config.device import DeviceProfile, Provider
from compressor.errors import CheckpointError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.registry import PASSES, run_pass
from compressor.models import checkpoint, macs
from compressor.models.families import family
from compressor.models.kinds.registry import make
from compressor.models.matrices import encoder_matrices, layer_matrices
from compressor.models.structure import (
    AdaptiveDepth,
    EmbeddingRank,
    LengthAdaptive,
    LowRank,
    SharedLayers,
    Structure,
    Widths,
)
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.stage import run as drop_layers
from tests.models.conftest import make_inputs
from tests.models.test_widths import run
from tests.stages.distill.conftest import make_context, make_examples, make_tokenizer, model_config, tiny_task

LAYERS, WIDTH = 3, 96
WORDS = [f"w{number}" for number in range(34)]


def ranks_of(model_type: str) -> LowRank:
    """Ranks for some matrices of the first layer and the last."""
    known = family(model_type)
    first, last = (f"{known.backbone}.{known.layers}.{layer}." for layer in (0, LAYERS - 1))
    return LowRank(ranks={first + known.query: 8, first + known.feed_forward_in: 20, last + known.attention_output: 16})


KINDS: dict[str, Callable[[str], Structure]] = {
    "low rank": lambda family: Structure(low_rank=ranks_of(family)),
    "embeddings": lambda family: Structure(embedding_rank=EmbeddingRank(rank=6)),
    "shared": lambda family: Structure(shared_layers=SharedLayers(layers=[0, 0, 2])),
    "all, lengths": lambda family: Structure(
        low_rank=ranks_of(family),
        embedding_rank=EmbeddingRank(rank=6),
        shared_layers=SharedLayers(layers=[0, 0, 2]),
        length_adaptive=LengthAdaptive(keep=[0.9, 0.6, 0.4], restore=False, protect_first=True),
    ),
    "all, exits, widths": lambda family: Structure(
        widths=Widths(heads=[2, 2, 3], feed_forward=[96, 96, 40], head_size=24),
        low_rank=ranks_of(family),
        embedding_rank=EmbeddingRank(rank=6),
        shared_layers=SharedLayers(layers=[0, 0, 2]),
        adaptive_depth=AdaptiveDepth(method="deebert", setting=0.5),
    ),
}


def changed(structure: Structure, model_type: str = "bert", task: str = "text-classification") -> Any:
    """A model of that structure, with random weights large enough that outputs differ between inputs."""
    torch.manual_seed(0)
    model = make(checkpoint.build(model_config(model_type, LAYERS, WIDTH, 4), tiny_task(task)), structure)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(4)
    return model.eval()


def saved(model: Any, folder: Path) -> Checkpoint:
    checkpoint.save(model, make_tokenizer(WORDS), folder)
    return Checkpoint(folder, folder.name)


def passes(source: Checkpoint, graph: Path, task: Any, **settings: Any) -> Path:
    """The graph fused and quantized; the last file."""
    context = PassContext(
        task=task,
        data=dataclasses.replace(
            make_context(graph.parent, task, source).data, calibration=make_examples(task.name, 8)
        ),
        tokenizer=checkpoint.load_tokenizer(source.path),
        checkpoint=source,
        device=DeviceProfile(
            name="test", description="", providers=[Provider(name="CPUExecutionProvider")], number_format="dynamic_int8"
        ),
        seed=0,
        progress=Silent(),
    )
    fused, int8 = graph.with_name("fused.onnx"), graph.with_name("int8.onnx")
    run_pass(PASSES["fuse"], graph, fused, FuseSettings(), context)
    chosen = QuantizeSettings(smallest_width=4, mode="dynamic", **settings)
    run_pass(PASSES["quantize"], fused, int8, chosen, context)
    return int8


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [*(("bert", kind) for kind in KINDS), *((other, "all, lengths") for other in ("roberta", "distilbert", "electra"))],
)
@torch.no_grad()
def test_it_saves_loads_exports_and_runs_in_int8(model_type: str, kind: str, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    model = changed(KINDS[kind](model_type), model_type)
    source = saved(model, tmp_path / "checkpoint")
    loaded = checkpoint.load(source.path, task)
    assert checkpoint.structure_of(loaded) == KINDS[kind](model_type)
    ids, mask = make_inputs(4, 12)
    mask[1, 7:] = 0
    expected = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(loaded(input_ids=ids, attention_mask=mask).logits, expected)
    export(source, task, tmp_path / "graph.onnx", opset=17, dial="optional")
    np.testing.assert_allclose(run(tmp_path / "graph.onnx", ids, mask)[0], expected.numpy(), atol=1e-4)
    int8 = passes(source, tmp_path / "graph.onnx", task)
    np.testing.assert_allclose(run(tmp_path / "fused.onnx", ids, mask)[0], expected.numpy(), atol=1e-4)
    assert np.abs(run(int8, ids, mask)[0] - expected.numpy()).max() < 0.5 * expected.abs().max()


@pytest.mark.parametrize("task", ["question-answering", "token-classification"])
@torch.no_grad()
def test_tasks_that_read_every_token(task: str, tmp_path: Path) -> None:
    model = changed(dataclasses.replace(KINDS["all, lengths"]("bert"), length_adaptive=None), task=task)
    source = saved(model, tmp_path / "checkpoint")
    export(source, tiny_task(task), tmp_path / "graph.onnx", opset=17, dial="fixed")
    ids, mask = make_inputs(4, 12)
    outputs = model(input_ids=ids, attention_mask=mask)
    for name, array in zip(tiny_task(task).output_names, run(tmp_path / "graph.onnx", ids, mask), strict=True):
        np.testing.assert_allclose(array, outputs[name].numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_products_are_counted_from_the_config(model_type: str, kind: str) -> None:
    structure = dataclasses.replace(KINDS[kind](model_type), adaptive_depth=None, length_adaptive=None)
    model = changed(structure, model_type)
    config = checkpoint.config_to_save(model)
    assert macs.parameter_count(config, "text-classification") == sum(p.numel() for p in model.parameters())
    products = 0

    def add(module: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal products
        products += inputs[0].numel() * module.out_features

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(add)
    ids, mask = make_inputs(1, 16)
    model(input_ids=ids, attention_mask=mask)
    width = structure.widths
    attention = sum(2 * 16 * 16 * 24 * heads for heads in (width.heads if width else [4] * LAYERS))
    norms = 16 * (16 if model_type == "electra" else WIDTH) + 2 * LAYERS * 16 * WIDTH
    assert macs.count(config, structure, length=16, task="text-classification") == products + attention + norms


def weights_twice(path: Path) -> list[str]:
    """Names of weights that stand in a graph more than once, under whatever name."""
    seen: set[bytes] = set()
    twice = []
    for tensor in onnx.load(path).graph.initializer:
        content = tensor.raw_data
        if len(content) > 256 and content in seen:
            twice.append(tensor.name)
        seen.add(content)
    return twice


@pytest.mark.parametrize("low_rank", [False, True])
@torch.no_grad()
def test_shared_weights_are_stored_once_everywhere(low_rank: bool, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    ranks = {name: 12 for name in encoder_matrices(model_config("bert", LAYERS, WIDTH, 4)) if ".0." in name}
    all_one = Structure(
        low_rank=LowRank(ranks=ranks) if low_rank else None, shared_layers=SharedLayers(layers=[0] * LAYERS)
    )
    source = saved(changed(all_one), tmp_path / "checkpoint")
    one_layer = drop_layers(source, DropLayersSettings(keep=[0]), make_context(tmp_path / "one", task, source))
    sizes = []
    for each, folder in ((source, tmp_path / "a"), (one_layer, tmp_path / "b")):
        export(each, task, folder / "graph.onnx", opset=17, dial="optional")
        int8 = passes(each, folder / "graph.onnx", task, smooth="off")
        for file in ("graph", "fused", "int8"):
            assert not weights_twice(folder / f"{file}.onnx")
        sizes.append(
            [sum(len(t.raw_data) for t in onnx.load(path).graph.initializer) for path in (folder / "graph.onnx", int8)]
        )
    assert (source.path / "model.safetensors").stat().st_size < (
        1.2 * (one_layer.path / "model.safetensors").stat().st_size
    )
    assert sizes[0][0] < 1.05 * sizes[1][0] and sizes[0][1] < 1.05 * sizes[1][1]


@pytest.mark.parametrize("kept", [[1, 2], [0, 1], [0, 2], [1]])
@torch.no_grad()
def test_dropped_layers_leave_their_weights_to_those_that_stay(kept: list[int], tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    model = changed(Structure(low_rank=ranks_of("bert"), shared_layers=SharedLayers(layers=[0, 0, 2])))
    source = saved(model, tmp_path / "checkpoint")
    result = drop_layers(source, DropLayersSettings(keep=kept), make_context(tmp_path, task, source))
    smaller: Any = checkpoint.load(result.path, task)
    model.bert.encoder.layer = torch.nn.ModuleList([model.bert.encoder.layer[old] for old in kept])
    ids, mask = make_inputs(3, 9)
    found, expected = (each(input_ids=ids, attention_mask=mask).logits for each in (smaller, model))
    torch.testing.assert_close(found, expected)
    shared = checkpoint.structure_of(smaller).shared_layers
    assert (shared is not None) == (kept == [0, 1])


def test_dropped_layers_lose_their_entries() -> None:
    structure = KINDS["all, lengths"]("bert").with_layers([1, 2])
    assert structure.shared_layers is None
    assert structure.embedding_rank == EmbeddingRank(rank=6)
    name = "bert.encoder.layer.{}.{}"
    assert structure.low_rank == LowRank(
        ranks={
            name.format(0, "attention.self.query"): 8,
            name.format(0, "intermediate.dense"): 20,
            name.format(1, "attention.output.dense"): 16,
        }
    )
    assert Structure(low_rank=ranks_of("bert")).with_layers([1]).is_stock


def test_layers_that_share_have_one_name() -> None:
    config = checkpoint.config_to_save(changed(Structure(shared_layers=SharedLayers(layers=[0, 0, 2]))))
    first, second, third = layer_matrices(config)
    assert first == second != third


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Structure(low_rank=LowRank(ranks={"bert.nothing": 4})), "no layer 'bert.nothing'"),
        (Structure(low_rank=LowRank(ranks={"bert.embeddings": 4})), "'bert.embeddings' is no linear layer"),
        (Structure(low_rank=LowRank(ranks={"bert.pooler.dense": 97})), "rank 97 is larger than 'bert.pooler.dense'"),
        (Structure(embedding_rank=EmbeddingRank(rank=40)), "rank 40 is larger than the table, 39 x 96"),
        (Structure(shared_layers=SharedLayers(layers=[0, 0])), "2 entries, the model has 3 layers"),
    ],
)
def test_what_does_not_fit_is_an_error(structure: Structure, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        changed(structure)


@pytest.mark.parametrize("layers", [[0, 2, 2], [0, 0, 1], [1, 1]])
def test_only_earlier_owners_can_be_used(layers: list[int]) -> None:
    with pytest.raises(CheckpointError, match="cannot use the weights of layer"):
        Structure.from_config({"compressor": {"structure": {"shared_layers": {"layers": layers}}}})


@torch.no_grad()
def test_shared_weights_stay_one_where_channels_are_loud(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    model = changed(Structure(shared_layers=SharedLayers(layers=[0, 0, 2])))
    for layer in model.bert.encoder.layer:
        layer.attention.output.LayerNorm.weight[3] = 40.0  # loud where the feed-forward block reads
    source = saved(model, tmp_path / "checkpoint")
    export(source, task, tmp_path / "graph.onnx", opset=17, dial="optional")
    int8 = passes(source, tmp_path / "graph.onnx", task, smooth="on")
    smoothed = [tensor.name for tensor in onnx.load(int8).graph.initializer if "/smoothed/" in tensor.name]
    assert any("layer.2." in name for name in smoothed) and not any("layer.0." in name for name in smoothed)
    assert not weights_twice(int8)
