"""The narrow table: the least error by use, ranks by every rule, and the file that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compressor.errors import RequestError
from compressor.graph.export import export
from compressor.models import checkpoint, macs
from compressor.models.kinds.low_rank import word_embeddings
from compressor.models.structure import EmbeddingRank, Structure
from compressor.stages.context import Checkpoint
from compressor.stages.distill.settings import StudentSettings
from compressor.stages.distill.shape import student_config
from compressor.stages.factorize_embeddings import stage
from compressor.stages.factorize_embeddings.settings import FactorizeEmbeddingsSettings
from compressor.stages.factorize_embeddings.shape import shape, table_size
from compressor.stages.registry import stage_spec
from compressor.tasks.base import Feature
from tests.models.conftest import FAMILY_NAMES, make_inputs
from tests.models.test_decomposed import passes
from tests.models.test_widths import run as run_graph
from tests.stages.distill.conftest import WORDS, make_checkpoint, make_context, make_tokenizer, model_config, tiny_task

CONFIG = model_config("bert", 2, 32, 4)  # 39 words


def test_words_are_counted() -> None:
    features = [Feature({"input_ids": ids}, {}, 0) for ids in ([1, 1, 3], [3, 4])]
    assert stage.word_counts(features, 6).tolist() == [0, 2, 0, 2, 1, 0]


def test_the_error_is_least_over_all_uses() -> None:
    torch.manual_seed(0)
    table, counts = torch.randn(20, 6), torch.randint(0, 50, (20,)).float()
    _, directions = stage.principal_directions(table, counts)
    narrow = directions[:, :2]
    error = ((table - table @ narrow @ narrow.T).square().sum(1) * (counts + 1)).sum()
    best = torch.linalg.svdvals((counts + 1).sqrt()[:, None] * table)[2:].square().sum()
    torch.testing.assert_close(error, best, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("model_type", "rule", "weighting"),
    [
        ("bert", {"rank": 4}, "none"),
        ("roberta", {"ratio": 0.3}, "frequency"),
        ("distilbert", {"energy": 0.5}, "none"),
        ("electra", {"energy": 0.5}, "frequency"),
    ],
)
def test_the_stage_narrows_the_table(tmp_path: Path, model_type: str, rule: dict[str, Any], weighting: Any) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, model_type)
    settings = FactorizeEmbeddingsSettings(weighting=weighting, **rule)
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    config, before = checkpoint.read_config(result.path), checkpoint.read_config(source.path)
    model, whole = checkpoint.load(result.path, task), checkpoint.load(source.path, task)
    assert macs.parameter_count(config, task) == sum(parameter.numel() for parameter in model.parameters())
    table, old = stage.whole_table(word_embeddings(model)), word_embeddings(whole).weight
    kept = 1 - (table - old).square().sum() / old.square().sum()
    assert 0 < kept < 1
    if "energy" in rule and weighting == "none":
        assert kept >= 0.5
    if "energy" not in rule:
        expected = shape(before, {}, settings)
        assert Structure.from_config(config) == Structure.from_config(expected)
    others = {name: value for name, value in model.state_dict().items() if "word_embeddings" not in name}
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in others.items())


def test_a_second_time_starts_from_the_product(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    once = stage.run(source, FactorizeEmbeddingsSettings(rank=10), make_context(tmp_path / "a", task, source))
    twice = stage.run(once, FactorizeEmbeddingsSettings(rank=5), make_context(tmp_path / "b", task, source))
    direct = stage.run(source, FactorizeEmbeddingsSettings(rank=5), make_context(tmp_path / "c", task, source))
    first, second = (stage.whole_table(word_embeddings(checkpoint.load(r.path, task))) for r in (twice, direct))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    with pytest.raises(RequestError, match="factorized at rank 10 already, and 10 is no less"):
        shape(checkpoint.read_config(once.path), {}, FactorizeEmbeddingsSettings(rank=10))


def test_the_graph_looks_up_the_narrow_table_and_int8_reaches_it(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    words = [f"w{number}" for number in range(595)]
    config = {**model_config("bert", 1, 96, 4), "vocab_size": 600}
    checkpoint.save(checkpoint.build(config, task), make_tokenizer(words), tmp_path / "source")
    source = Checkpoint(tmp_path / "source", "source")
    settings = FactorizeEmbeddingsSettings(rank=16, weighting="none")
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    export(result, task, tmp_path / "graph.onnx", opset=17, dial="optional")
    graph = onnx.load(tmp_path / "graph.onnx").graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    looked_up = [sizes[node.input[0]] for node in graph.node if node.op_type == "Gather" and node.input[0] in sizes]
    assert [600, 16] in looked_up and [600, 96] not in sizes.values() and [16, 96] in sizes.values()
    assert 600 * 16 + 16 * 96 < 0.25 * 600 * 96
    int8 = onnx.load(passes(result, tmp_path / "graph.onnx", task, embeddings="int8")).graph
    tables = [tensor for tensor in int8.initializer if list(tensor.dims) == [600, 16]]
    assert [tensor.data_type for tensor in tables] == [onnx.TensorProto.INT8]


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
@pytest.mark.parametrize("kind", ["bilstm", "cnn"])
@torch.no_grad()
def test_a_student_without_layers_too(tmp_path: Path, kind: Any, model_type: str) -> None:
    """Of the width that its own embeddings have; it trains on, and graph and PyTorch agree."""
    task = tiny_task("text-classification")
    base = model_config(model_type, 2, 32, 4)
    student = student_config(base, base, StudentSettings(kind=kind, hidden_size=24, embedding_size=20))
    checkpoint.save(checkpoint.build(student, task), make_tokenizer(WORDS), tmp_path / "source")
    source = Checkpoint(tmp_path / "source", "source")
    spec, settings = stage_spec("factorize_embeddings"), FactorizeEmbeddingsSettings(ratio=0.5)
    config = checkpoint.read_config(source.path)
    spec.check_structure(Structure.from_config(config), "factorize")
    foretold = spec.load_shape()(config, base, settings)
    result = spec.load_run()(source, settings, make_context(tmp_path, task, source))
    model: Any = checkpoint.load(result.path, task)
    assert checkpoint.structure_of(model) == Structure.from_config(foretold)
    assert table_size(foretold) == (39, 20) == tuple(stage.whole_table(word_embeddings(model)).shape)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert macs.parameter_count(foretold, task) == count < macs.parameter_count(config, task)
    export(result, task, tmp_path / "graph.onnx", opset=17, dial="fixed")
    ids, mask = make_inputs(3, 9)
    mask[1, 4:] = 0
    found = run_graph(tmp_path / "graph.onnx", ids, mask)[0]
    np.testing.assert_allclose(found, model(input_ids=ids, attention_mask=mask).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "give one of rank, ratio, energy, not none"),
        ({"ratio": 1.0}, "at ratio 1 the factors are as large as the table"),
        ({"ratio": 1e-6}, "leaves nothing of embeddings of 39 x 32"),
        ({"rank": 3, "ratio": 0.5}, "not rank and ratio"),
        ({"rank": 18}, "at rank 18 the factors would be no smaller .* 39 x 32: take a rank of at most 17"),
    ],
)
def test_impossible_wishes_are_refused_before_any_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        shape(CONFIG, {}, FactorizeEmbeddingsSettings(**wrong))


def test_a_ratio_is_of_the_parameters() -> None:
    found = shape(CONFIG, {}, FactorizeEmbeddingsSettings(ratio=0.5))
    assert Structure.from_config(found).embedding_rank == EmbeddingRank(rank=8)  # 8 * (39 + 32) of 39 * 32


def test_plan_knows_it() -> None:
    spec = stage_spec("factorize_embeddings")
    assert spec.load_shape() is shape and spec.load_settings() is FactorizeEmbeddingsSettings
    assert FactorizeEmbeddingsSettings(rank=4, weighting="none").reads() == ()
