"""The stage from checkpoint to checkpoint, and to a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models import checkpoint
from compressor.models.kinds.sparse import zero_share
from compressor.models.structure import Sparse, Structure
from compressor.stages.context import Checkpoint
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.stage import run as drop_layers
from compressor.stages.factorize_embeddings.settings import FactorizeEmbeddingsSettings
from compressor.stages.factorize_embeddings.shape import shape as factorized
from compressor.stages.finetune.settings import FinetuneSettings
from compressor.stages.finetune.stage import run as finetune
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.stage import run as length_adaptive
from compressor.stages.prune_weights import stage
from compressor.stages.prune_weights.masked import MaskedWeights
from compressor.stages.prune_weights.settings import PruneWeightsSettings
from compressor.stages.prune_weights.shape import shape
from tests.graph.exported import difference, export_model, fuse, inputs_of, masks, run_graph, run_torch
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task

QUICK: dict[str, Any] = {"max_steps": 3, "batch_size": 4}
CLASSES = tiny_task("text-classification")


def matrices(path: Path, task: Any = CLASSES) -> list[torch.Tensor]:
    model: Any = checkpoint.load(path, task)
    return [parameter for parameter in model.base_model.encoder.parameters() if parameter.ndim == 2]


def prune(folder: Path, **settings: Any) -> Checkpoint:
    source = make_checkpoint(folder / "source", CLASSES)
    asked = PruneWeightsSettings(**{**QUICK, **settings})
    return stage.run(source, asked, make_context(folder, CLASSES, source))


@pytest.mark.parametrize("method", ["magnitude", "movement", "soft_movement"])
def test_the_share_goes_and_the_rest_learns(tmp_path: Path, method: Any) -> None:
    result = prune(tmp_path, method=method, sparsity=0.8, scope="model")
    share = zero_share(matrices(result.path))
    assert share == pytest.approx(0.8, abs=1e-3)
    model: Any = checkpoint.load(result.path, CLASSES)
    assert checkpoint.structure_of(model).sparse == Sparse(sparsity=0.8)
    before = checkpoint.load(tmp_path / "source", CLASSES).state_dict()
    kept = {name: value for name, value in model.state_dict().items() if value.ndim == 2 and "encoder" in name}
    assert any(not torch.equal(value[value != 0], before[name][value != 0]) for name, value in kept.items())
    assert zero_share([model.bert.embeddings.word_embeddings.weight]) < 0.1


def test_magnitude_takes_the_smallest_of_each_matrix(tmp_path: Path) -> None:
    result = prune(tmp_path, method="magnitude", sparsity=0.5, learning_rate=1e-9)
    for before, after in zip(matrices(tmp_path / "source"), matrices(result.path), strict=True):
        assert zero_share([after]) == pytest.approx(0.5, abs=1e-3)
        assert before[after == 0].abs().max() <= before[after != 0].abs().min() + 1e-6


def test_soft_movement_pays_for_scores(tmp_path: Path) -> None:
    result = prune(
        tmp_path, method="soft_movement", sparsity=0.2, threshold=0.4, penalty=1e4, score_learning_rate=2.0, warmup=0,
        prune_from=0, prune_until=0.1,
    )  # fmt: skip
    assert zero_share(matrices(result.path)) > 0.5  # more than asked: the scores fell below the threshold


def test_near_no_sparsity_soft_movement_is_the_papers() -> None:
    """The threshold decides alone; with a sparsity, at least that share goes too."""
    layer = torch.nn.Linear(20, 10)
    scores = torch.linspace(-4, 2, 200).reshape(10, 20)
    for sparsity, expected in ((0.004, torch.sigmoid(scores) > 0.1), (0.9, scores >= scores.flatten()[180])):
        settings = PruneWeightsSettings(method="soft_movement", sparsity=sparsity, threshold=0.1)
        weights = MaskedWeights([layer], settings)
        weights.masks[0].scores.data.copy_(scores)  # type: ignore[union-attr]
        weights.choose(sparsity)
        assert torch.equal(weights.masks[0].mask, expected)
        weights.apply()
        torch.nn.init.ones_(layer.weight)


def test_it_is_known_whether_embeddings_were_pruned(tmp_path: Path) -> None:
    """What is foretold and what is written; a second pruning without them leaves their zeros."""
    once = prune(tmp_path, sparsity=0.5, embeddings=True)
    config = checkpoint.read_config(once.path)
    whole = checkpoint.read_config(tmp_path / "source")
    expected = Sparse(sparsity=0.5, embeddings=True)
    assert Structure.from_config(config).sparse == expected
    assert (
        Structure.from_config(shape(whole, whole, PruneWeightsSettings(sparsity=0.5, embeddings=True))).sparse
        == expected
    )
    again = Structure.from_config(shape(config, whole, PruneWeightsSettings(sparsity=0.7))).sparse
    assert again == Sparse(sparsity=0.7, embeddings=True)
    with pytest.raises(RequestError, match="has none of these zeros: put factorize_embeddings in front"):
        factorized(config, whole, FactorizeEmbeddingsSettings(ratio=0.5))
    layers_alone = shape(whole, whole, PruneWeightsSettings(sparsity=0.5))
    assert Structure.from_config(factorized(layers_alone, whole, FactorizeEmbeddingsSettings(ratio=0.5))).embedding_rank


def test_chosen_matrices_and_embeddings(tmp_path: Path) -> None:
    result = prune(tmp_path, sparsity=0.6, modules=["*.layer.1.*query"], embeddings=True)
    model: Any = checkpoint.load(result.path, CLASSES)
    layers = model.bert.encoder.layer
    assert zero_share([layers[1].attention.self.query.weight]) == pytest.approx(0.6, abs=1e-3)
    assert zero_share([layers[0].attention.self.query.weight, layers[1].output.dense.weight]) == 0
    assert zero_share([model.bert.embeddings.word_embeddings.weight]) == pytest.approx(0.6, abs=1e-2)


def test_it_learns_from_the_teacher(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", CLASSES)
    teacher = make_checkpoint(tmp_path / "teacher", CLASSES, layers=3, seed=4)
    settings = PruneWeightsSettings(
        method="movement", sparsity=0.3, distill={"logits": 1.0, "hidden": 1.0}, epochs=30, batch_size=8,
        learning_rate=2e-3,
    )  # fmt: skip
    context = make_context(tmp_path, CLASSES, teacher)
    result = stage.run(source, settings, context)
    features = CLASSES.features(context.data.train, checkpoint.load_tokenizer(source.path), labelled=False)
    from compressor.training import predict

    def answers(path: Path) -> Any:
        outputs = predict(checkpoint.load(path, CLASSES), features, checkpoint.load_tokenizer(path), 8)
        return torch.softmax(torch.tensor([row["logits"].tolist() for row in outputs]), dim=-1)

    wanted = answers(teacher.path)
    assert (answers(result.path) - wanted).abs().mean() < 0.5 * (answers(source.path) - wanted).abs().mean()


def test_zeros_outlive_other_stages(tmp_path: Path) -> None:
    pruned = prune(tmp_path, sparsity=0.7)
    context = make_context(tmp_path / "next", CLASSES, pruned)
    trained = finetune(pruned, FinetuneSettings(learning_rate=1e-2, **QUICK), context)
    assert [torch.equal(a == 0, b == 0) for a, b in zip(matrices(pruned.path), matrices(trained.path), strict=True)]
    context = make_context(tmp_path / "drop", CLASSES, pruned)
    fewer = drop_layers(trained, DropLayersSettings(layers=1), context)
    assert zero_share(matrices(fewer.path)) == pytest.approx(0.7, abs=1e-3)
    assert (fewer.path / "model.safetensors").stat().st_size < (pruned.path / "model.safetensors").stat().st_size
    again = stage.run(
        trained, PruneWeightsSettings(sparsity=0.9, **QUICK), make_context(tmp_path / "again", CLASSES, pruned)
    )
    assert zero_share(matrices(again.path)) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("adaptive", [False, True])
def test_its_graph_agrees_and_fuses(tmp_path: Path, adaptive: bool) -> None:
    result = prune(tmp_path, sparsity=0.7)
    if adaptive:
        context = make_context(tmp_path / "next", CLASSES, result)
        result = length_adaptive(result, LengthAdaptiveSettings(**QUICK), context)
        assert zero_share(matrices(result.path)) == pytest.approx(0.7, abs=1e-3)
    graph = export_model(result.path, CLASSES)
    fused = fuse(graph, result.path, task=CLASSES).path
    model = checkpoint.load(result.path, CLASSES)
    inputs = {name: value % 39 for name, value in inputs_of(masks()["padding on the right"]).items()}
    keep = [0.8, 0.5] if adaptive else None
    for path in (graph, fused):
        assert difference(run_graph(path, inputs, keep), run_torch(model, CLASSES, inputs, keep)) < 1e-4


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(RequestError, match="starts after 0.7 of the updates and has to be done after 0.5"):
        PruneWeightsSettings(prune_from=0.7, prune_until=0.5)
    with pytest.raises(RequestError, match="prune_weights: distill: 'epochs' belongs to the stage itself"):
        PruneWeightsSettings(distill={"epochs": 3})
    with pytest.raises(ValueError):
        PruneWeightsSettings(sparsity=1.0)
    with pytest.raises(RequestError, match="threshold and penalty mean something to method: soft_movement alone"):
        PruneWeightsSettings(method="movement", threshold=0.5, penalty=1.0)
    with pytest.raises(RequestError, match="score_learning_rate mean something to movement pruning alone"):
        PruneWeightsSettings(score_learning_rate=0.1)
    from tests.stages.distill.conftest import model_config

    config = model_config("bert", 2, 32, 4)
    with pytest.raises(RequestError, match=r"prune_weights: modules: '\*\.nothing' fits no matrix"):
        shape(config, config, PruneWeightsSettings(modules=["*.nothing"]))
    with pytest.raises(RequestError, match="attention heads one by one"):
        shape(
            config, {**config, "num_attention_heads": 2}, PruneWeightsSettings(distill={"logits": 0, "attention": 1.0})
        )


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PruneWeightsSettings(
        method="movement", sparsity=0.5, every=2, epochs=2, batch_size=8, save_every_minutes=1e-9
    )
    source = make_checkpoint(tmp_path / "source", CLASSES)
    whole = stage.run(source, settings, make_context(tmp_path / "whole", CLASSES, source))
    context, call = make_context(tmp_path / "killed", CLASSES, source), stage.Pruning.__call__

    def dying(self: Any, model: Any, inputs: Any, labels: Any, step: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        yield from call(self, model, inputs, labels, step)

    with monkeypatch.context() as patch:
        patch.setattr(stage.Pruning, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            stage.run(source, settings, context)
    again = stage.run(source, settings, context)
    for one, other in zip(matrices(whole.path), matrices(again.path), strict=True):
        assert torch.equal(one, other)
