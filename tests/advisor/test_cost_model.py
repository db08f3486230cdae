"""The cost model on devices whose true prices are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from compressor.advisor.cost_model import CostModel, choose, fit, left_out_errors
from compressor.advisor.features import memory_features, size_parts, time_features
from compressor.advisor.prices import Calibration
from compressor.models import macs
from compressor.models.structure import Structure
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape as dropped
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import shape as adapted
from compressor.stages.prune_widths.settings import PruneWidthsSettings
from compressor.stages.prune_widths.shape import shape as pruned

MINILM = {
    "model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12,
    "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
TRUE = {
    "linear float32": 0.012, "linear dynamic_int8": 0.004, "attention": 0.02, "softmax": 0.9, "elements": 0.35,
    "rounding dynamic_int8": 0.5, "weights": 0.01, "layers": 0.05, "drops": 0.2, "ranking": 2.0, "call": 0.15,
}  # fmt: skip


def grid() -> list[dict[str, float]]:
    """The features of a grid of shapes of one encoder."""
    found = []
    for layers, width, keep, number_format in itertools.product(
        (6, 5, 4, 3, 2), (1.0, 0.75, 0.5, 0.25), (1.0, 0.9, 0.8), ("float32", "dynamic_int8")
    ):
        config = dropped(dict(MINILM), {}, DropLayersSettings(layers=layers))
        if width < 1:
            config = pruned(config, {}, PruneWidthsSettings(heads=width, feed_forward=width))
        if keep < 1:
            config = adapted(config, {}, LengthAdaptiveSettings())
        found.append(time_features(config, number_format, keep, length=64, batch_size=1, task="question-answering"))
    return found


def cost(features: dict[str, float]) -> float:
    return sum(TRUE[name] * value for name, value in features.items())


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_twelve_shapes_tell_the_others_of_a_device_apart(noise: float) -> None:
    shapes = grid()
    random = np.random.default_rng(1)
    measured = [cost(shape) * float(np.exp(noise * random.standard_normal())) for shape in shapes]
    chosen = choose(shapes, 12)

    model = fit([shapes[place] for place in chosen], [measured[place] for place in chosen])

    unseen = [place for place in range(len(shapes)) if place not in chosen]
    predicted = np.asarray([model.predict(shapes[place]) for place in unseen])
    wanted = np.asarray([measured[place] for place in unseen])
    assert len(chosen) == len(set(chosen)) == 12
    assert np.median(np.abs(predicted / wanted - 1)) < (0.02 if noise == 0 else 0.05)
    assert spearmanr(predicted, wanted).statistic > (0.99 if noise == 0 else 0.97)


def test_shapes_chosen_by_design_predict_better_than_the_first_twelve() -> None:
    shapes = grid()

    def worst(chosen: list[int]) -> float:
        model = fit([shapes[place] for place in chosen], [cost(shapes[place]) for place in chosen])
        return max(abs(model.predict(shape) / cost(shape) - 1) for shape in shapes)

    assert worst(choose(shapes, 12)) < 0.5 * worst(list(range(12)))


def test_no_price_is_below_zero_and_work_without_a_price_is_free() -> None:
    model = fit([{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 0.0}], [1.0, 4.0, 6.5])

    assert min(model.prices.values()) >= 0
    assert model.predict({"unknown": 5.0}) == 0.0


def test_errors_of_left_out_shapes_are_those_of_models_without_them() -> None:
    shapes = [{"call": 1.0, "layers": float(layers)} for layers in (1, 2, 4, 6)]
    even = [1.0 + shape["layers"] for shape in shapes]
    odd = [*even[:-1], 14.0]

    assert max(left_out_errors(shapes, even)) < 0.05
    assert left_out_errors(shapes, odd)[-1] == pytest.approx(0.5, abs=0.03)  # 7 where 14 was measured


@pytest.mark.parametrize("measured", [[], [1.0], [1.0, 0.0]])
def test_figures_must_fit_the_shapes(measured: list[float]) -> None:
    with pytest.raises(ValueError, match="a figure above zero for each"):
        fit([{"call": 1.0}, {"call": 1.0}] if measured else [], measured)


def test_linear_work_is_the_macs_of_the_paper() -> None:
    features = time_features(MINILM, "float32", 1.0, length=384, batch_size=1, task="question-answering")
    counted = macs.count(MINILM, Structure.from_config(MINILM), length=384, task="question-answering")

    layer_norms = 384 * 384 * (1 + 2 * 6)
    head = 2 * 384 * 384
    assert 1e6 * (features["linear float32"] + features["attention"]) == pytest.approx(counted - layer_norms - head)


def test_dropping_tokens_saves_work_and_costs_the_ranking() -> None:
    config = adapted(dict(MINILM), {}, LengthAdaptiveSettings())
    full = time_features(config, "float32", 1.0, length=64, batch_size=1, task="question-answering")
    short = time_features(config, "float32", 0.8, length=64, batch_size=1, task="question-answering")

    assert short["linear float32"] < 0.7 * full["linear float32"]
    assert (full["drops"], full["ranking"], short["drops"]) == (0, 0, 6)
    assert short["ranking"] > 0


def test_size_counts_a_byte_a_weight_of_int8_and_four_of_float32() -> None:
    whole = size_parts(MINILM, "float32", "text-classification")
    small = size_parts(MINILM, "dynamic_int8", "text-classification")

    assert whole == pytest.approx(4 * macs.parameter_count(MINILM, "text-classification") / 1e6)
    assert 0.25 * whole < small < 0.28 * whole
    assert whole - size_parts(MINILM, "float32", "token-classification") == pytest.approx(4 * 384 * 385 / 1e6)


def test_the_last_layer_of_a_text_goes_on_with_one_token_where_the_graph_is_ours() -> None:
    narrow = pruned(dict(MINILM), {}, PruneWidthsSettings(heads=0.5, feed_forward=0.5))
    answers = time_features(narrow, "float32", 1.0, length=64, batch_size=1, task="text-classification")
    tokens = time_features(narrow, "float32", 1.0, length=64, batch_size=1, task="token-classification")
    stock = time_features(MINILM, "float32", 1.0, length=64, batch_size=1, task="text-classification")
    whole = time_features(MINILM, "float32", 1.0, length=64, batch_size=1, task="token-classification")

    saved = 63 * (384 * 192 + 2 * 384 * 768) / 1e6
    assert tokens["linear float32"] - answers["linear float32"] == pytest.approx(saved)
    assert stock == whole


def test_memory_grows_with_the_file_and_the_input() -> None:
    base = memory_features(MINILM, 20.0, length=64, batch_size=1)

    assert base["file"] == 20.0
    assert memory_features(MINILM, 20.0, length=64, batch_size=4)["activations"] == 4 * base["activations"]


def test_a_model_that_is_far_off_still_rules_out_what_is_out_by_half() -> None:
    model = CostModel({"call": 1.0})

    assert Calibration(model, None, [], [], [0.05, 0.1, 3.0]).margin == pytest.approx(0.2)
    assert Calibration(model, None, [], [], [2.0, 3.0]).margin == 0.5
