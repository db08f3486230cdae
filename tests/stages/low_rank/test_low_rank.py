"""Factors against slow references, ranks by every rule, and the stage from checkpoint to checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models import checkpoint, macs
from compressor.models.factors import by_covariance, by_importance, decompose, rank_of_energy
from compressor.models.kinds.low_rank import LowRankLinear, dense
from compressor.models.matrices import Matrix, encoder_matrices
from compressor.models.ranks import largest_rank, rank_of_ratio
from compressor.models.structure import LowRank, Structure
from compressor.progress import Silent
from compressor.stages.low_rank import stage
from compressor.stages.low_rank.moments import input_moments, squared_gradients
from compressor.stages.low_rank.ranks import spread_budget
from compressor.stages.low_rank.settings import LowRankSettings
from compressor.stages.low_rank.shape import shape
from compressor.stages.registry import stage_spec
from compressor.training import collate
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task

CONFIG = model_config("bert", 2, 32, 4)
NAMES = list(encoder_matrices(CONFIG))
QUERY = "bert.encoder.layer.1.attention.self.query"


def random(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).double()


def test_plain_factors_are_the_truncated_svd() -> None:
    weight = random(9, 7)
    values = torch.linalg.svdvals(weight)
    first, second = decompose(weight).factors(3)
    assert first.shape == (3, 7) and second.shape == (9, 3)
    error = (weight - second.double() @ first.double()).square().sum()
    torch.testing.assert_close(error, values[3:].square().sum(), rtol=1e-5, atol=0)


def test_factors_by_covariance_err_least_in_the_outputs() -> None:
    weight, inputs = random(9, 7), random(500, 7, seed=1) * torch.tensor([9.0, 5, 3, 1, 0.5, 0.1, 0.1]).double()
    mixed = inputs @ random(7, 7, seed=2)
    covariance = mixed.T @ mixed / len(mixed)

    def error(parts: Any) -> float:
        first, second = parts.factors(3)
        return float((mixed @ (weight - second.double() @ first.double()).T).square().sum())

    best = torch.linalg.svdvals(mixed @ weight.T)[3:].square().sum()
    found = error(decompose(weight, by_covariance(covariance)))
    assert float(best) * (1 - 1e-6) <= found < 1.1 * float(best)
    assert found < 0.8 * error(decompose(weight))


def test_factors_by_importance_err_least_where_it_counts() -> None:
    weight, importance = random(9, 7), torch.tensor([100.0, 50, 10, 1, 1, 1, 0]).double()
    first, second = decompose(weight, by_importance(importance)).factors(2)
    error = ((weight - second.double() @ first.double()).square() * importance).sum()
    best = torch.linalg.svdvals(weight * importance.sqrt())[2:].square().sum()
    assert float(best) * (1 - 1e-6) <= float(error) < 1.1 * float(best)


def test_inputs_that_never_vary_are_survived() -> None:
    first, second = decompose(random(5, 4), by_covariance(torch.zeros(4, 4))).factors(4)
    torch.testing.assert_close((second @ first).double(), random(5, 4), atol=1e-5, rtol=1e-5)


def test_rank_of_an_energy() -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 0.0])  # squares 9, 4, 1 of 14
    assert [rank_of_energy(values, share) for share in (0.1, 9 / 14, 0.7, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (64, 32), (3, 100), (1, 1)])
def test_ranks_that_are_smaller(rows: int, columns: int) -> None:
    largest = largest_rank(rows, columns)
    assert largest * (rows + columns) < rows * columns <= (largest + 1) * (rows + columns)
    half = rank_of_ratio(0.5, rows, columns)
    assert half == 1 or half * (rows + columns) <= rows * columns / 2 < (half + 1) * (rows + columns)


def test_a_budget_goes_where_it_gains_most() -> None:
    matrices = {"flat": Matrix("flat", 8, 8), "steep": Matrix("steep", 8, 8)}
    energies = {"flat": [1.0] * 8, "steep": [100.0, *[0.01] * 7]}
    assert spread_budget(matrices, energies, 2 * 16) == {"flat": 1, "steep": 1}
    assert spread_budget(matrices, energies, 4 * 16) == {"flat": 3, "steep": 1}
    assert spread_budget(matrices, energies, 64 + 16) == {"steep": 1}  # at rank 4 the factors are no smaller
    assert spread_budget(matrices, energies, 128) == {}
    with pytest.raises(RequestError, match="leaves 31 parameters for 2 matrices, which need 32 at rank 1"):
        spread_budget(matrices, energies, 31)


def prepared(tmp_path: Path, **options: Any) -> tuple[Any, Any, Any]:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, **options)
    context = make_context(tmp_path, task, source)
    data = dataclasses.replace(context.data, calibration=make_examples(task.name, 10))
    return task, source, dataclasses.replace(context, data=data)


def outputs(path: Path, task: Any) -> torch.Tensor:
    model: Any = checkpoint.load(path, task)
    inputs, _ = collate(
        task.features(make_examples(task.name, 12), checkpoint.load_tokenizer(path), labelled=True),
        checkpoint.load_tokenizer(path),
        task,
    )
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs).logits
    return logits


@pytest.mark.parametrize("rule", [{"ratio": 0.7}, {"energy": 0.7}, {"rank": 8}, {"budget": 15000}])
@pytest.mark.parametrize("weighting", ["none", "data", "fisher"])
def test_the_stage_decomposes(tmp_path: Path, rule: dict[str, Any], weighting: Any) -> None:
    task, source, context = prepared(tmp_path)
    settings = LowRankSettings(weighting=weighting, **rule)
    result = stage.run(source, settings, context)
    config, before = checkpoint.read_config(result.path), checkpoint.read_config(source.path)
    model = checkpoint.load(result.path, task)
    count = macs.parameter_count(config, task)
    assert count == sum(parameter.numel() for parameter in model.parameters())
    assert count < macs.parameter_count(before, task)
    if "budget" in rule:
        assert 0.97 * rule["budget"] < count <= rule["budget"]
    if "rank" in rule:
        assert set(Structure.from_config(config).low_rank.ranks.values()) == {8}  # type: ignore[union-attr]
    if "ratio" in rule:
        assert shape(before, {}, settings)["compressor"]["structure"] == config["compressor"]["structure"]
    if "energy" in rule and weighting == "none":
        whole, parts = checkpoint.load(source.path, task), model.get_submodule(QUERY)
        assert isinstance(parts, LowRankLinear)
        weight = whole.get_submodule(QUERY).weight
        left = (weight - dense(parts)[0]).detach().square().sum() / weight.square().sum()
        assert 0.2 < float(left) <= 0.3 + 1e-5


def test_data_keeps_the_outputs_nearest(tmp_path: Path) -> None:
    task, source, context = prepared(tmp_path)
    errors = {}
    for weighting in ("none", "data"):
        at = dataclasses.replace(context, output=tmp_path / weighting)
        result = stage.run(source, LowRankSettings(weighting=weighting, ratio=0.5), at)  # type: ignore[arg-type]
        errors[weighting] = (outputs(result.path, task) - outputs(source.path, task)).abs().mean()
    assert errors["data"] < 0.7 * errors["none"]


def test_moments_and_gradients_against_slow_references(tmp_path: Path) -> None:
    task, source, context = prepared(tmp_path)
    model: Any = checkpoint.load(source.path, task)
    tokenizer = checkpoint.load_tokenizer(source.path)
    features = task.features(make_examples(task.name, 3), tokenizer, labelled=True)
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(QUERY).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].detach()))
    moments = input_moments(model, [QUERY], features, tokenizer, context)[QUERY]
    hook.remove()
    states = torch.cat(seen).double()
    torch.testing.assert_close(moments.mean, states.mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(states.T, correction=0))
    squared = torch.zeros(32).double()
    for feature in features:
        inputs, labels = collate([feature], tokenizer, task)
        model.zero_grad()
        task.loss(model(**inputs), labels).backward()
        squared += model.get_submodule(QUERY).weight.grad.double().square().sum(0) / 3
    torch.testing.assert_close(squared_gradients(model, [QUERY], features, tokenizer, context)[QUERY], squared)


def test_a_second_time_starts_from_the_product(tmp_path: Path) -> None:
    task, source, context = prepared(tmp_path)
    once = stage.run(source, LowRankSettings(rank=12, weighting="none"), context)
    again = dataclasses.replace(context, output=tmp_path / "again")
    settings = LowRankSettings(rank=6, weighting="fisher", modules=["*.query"])
    twice = stage.run(once, settings, again)
    ranks = Structure.from_config(checkpoint.read_config(twice.path)).low_rank
    assert ranks == LowRank(ranks={name: 6 if name.endswith("query") else 12 for name in NAMES})
    third = dataclasses.replace(context, output=tmp_path / "third")
    plain = stage.run(once, LowRankSettings(rank=6, weighting="none", modules=["*.query"]), third)
    before, after = (checkpoint.load(each.path, task).get_submodule(QUERY) for each in (once, plain))
    first, second = decompose(dense(before)[0].detach()).factors(6)  # type: ignore[arg-type]
    torch.testing.assert_close(dense(after)[0].detach(), second @ first, atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [{"rank": 14}, {"rank": 12}, {"ratio": 0.9}])
def test_a_second_time_does_not_grow_what_is_there(rule: dict[str, Any]) -> None:
    once = shape(CONFIG, {}, LowRankSettings(rank=12))
    with pytest.raises(RequestError, match="is a product of rank 12 already, and rank 1[24] is no less"):
        shape(once, {}, LowRankSettings(**rule))
    less = shape(once, {}, LowRankSettings(rank=11))
    assert macs.parameter_count(less, "question-answering") < macs.parameter_count(once, "question-answering")


def test_a_budget_leaves_a_product_what_it_is() -> None:
    matrices = {"whole": Matrix("whole", 8, 8), "product": Matrix("product", 8, 8, rank=2)}
    energies = {"whole": [1.0] * 8, "product": [1.0, 1.0, *[0.0] * 6]}
    assert spread_budget(matrices, energies, 3 * 16) == {"whole": 1}
    assert spread_budget(matrices, energies, 1000) == {}
    assert spread_budget(matrices, energies, 64 + 31) == {"whole": 3}


def test_matrices_that_gain_nothing_are_named(tmp_path: Path) -> None:
    """At rank 20 the factors of a matrix of 32 x 64 are smaller, those of one of 32 x 32 are not."""
    task, source, context = prepared(tmp_path)
    lines: list[str] = []
    progress = Silent()
    progress.line = lines.append  # type: ignore[method-assign,assignment]
    result = stage.run(source, LowRankSettings(rank=20), dataclasses.replace(context, progress=progress))
    ranks = Structure.from_config(checkpoint.read_config(result.path)).low_rank
    assert ranks == LowRank(ranks={name: 20 for name in NAMES if ".attention." not in name})
    (line,) = lines
    assert "8 of 12 matrices stay as they are" in line
    assert "bert.encoder.layer.*.attention.self.query (2)" in line and "intermediate" not in line


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "give one of energy, ratio, budget, rank, not none"),
        ({"ratio": 1.0}, "at ratio 1 the factors are as large as the matrices"),
        ({"ratio": 1e-6}, "ratio 1e-06 leaves nothing of 'bert.encoder.layer.0.attention.self.query', 32 x 32"),
        ({"rank": 3, "energy": 0.5}, "not energy and rank"),
        ({"rank": 33}, "rank 33 is larger than 'bert.encoder.layer.0.attention.self.query', which is 32 x 32"),
        ({"rank": 32}, "no product of two matrices is smaller"),
        ({"budget": 100}, "a budget of 100 parameters is not possible"),
        ({"ratio": 0.5, "modules": ["*.quarry"]}, "'\\*.quarry' fits no matrix .*query"),
    ],
)
def test_impossible_wishes_are_refused_before_any_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        shape(CONFIG, {}, LowRankSettings(**wrong))


def test_a_model_with_exits_is_not_looked_through(tmp_path: Path) -> None:
    exits = {"base_model_type": "bert", "structure": {"adaptive_depth": {"method": "pabee", "setting": 2}}}
    config = {**CONFIG, "model_type": "compressor", "compressor": exits}
    with pytest.raises(RequestError, match="put low_rank in front of adaptive_depth"):
        shape(config, {}, LowRankSettings(ratio=0.5))
    assert "low_rank" in shape(config, {}, LowRankSettings(ratio=0.5, weighting="none"))["compressor"]["structure"]


def test_no_calibration_examples_are_an_error(tmp_path: Path) -> None:
    task, source, context = prepared(tmp_path)
    empty = dataclasses.replace(context, data=dataclasses.replace(context.data, calibration=[]))
    with pytest.raises(RequestError, match="weighting: data needs calibration examples"):
        stage.run(source, LowRankSettings(ratio=0.5), empty)


def test_plan_reads_no_torch_for_it() -> None:
    spec = stage_spec("low_rank")
    settings = spec.load_settings()(ratio=0.5)
    assert isinstance(settings, LowRankSettings)
    assert spec.load_shape()(CONFIG, CONFIG, settings) == shape(CONFIG, {}, settings)
    assert spec.reads == ("calibration",)
