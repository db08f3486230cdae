"""Classifiers that answer after any layer: against the stock model, and against all layers run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.config.run import FeatureSettings
from compressor.errors import CheckpointError
from compressor.graph.dial import NEVER
from compressor.models import checkpoint
from compressor.models.families import family_of_model
from compressor.models.kinds import halting
from compressor.models.kinds.adaptive_depth import make_adaptive_depth, start_from_head
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import AdaptiveDepth, LengthAdaptive
from compressor.tasks import make_task
from tests.models.conftest import make_inputs, make_model
from tests.stages.distill.conftest import make_tokenizer, tiny_task

SETTINGS = {"dact": 0.0, "deebert": 0.6, "pabee": 1.0}
METHODS = list(SETTINGS)
TOLERANCE = 1.5
LAYERS = 4


def several() -> Any:
    return make_task("text-classification", FeatureSettings(), ("a", "b", "c"), multi_label=True)


def numbers() -> Any:
    return make_task("text-regression", FeatureSettings())


def number_model(model_type: str = "bert") -> Any:
    """A model that gives a number and stops by PABEE's rule; DistilBERT's numbers are far apart."""
    tolerance = 3 * TOLERANCE if model_type == "distilbert" else TOLERANCE
    return adaptive("pabee", model_type, numbers(), tolerance=tolerance)


def adaptive(method: str, model_type: str = "bert", task: Any = None, **settings: Any) -> Any:
    """A classifier with exits whose answers and halting units differ between inputs."""
    model = make_model(model_type, task or tiny_task("text-classification"), layers=LAYERS)
    model = make_adaptive_depth(model, AdaptiveDepth(method=method, setting=SETTINGS[method], **settings)).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    for exit_ in model.exits.values():
        for name, parameter in exit_.named_parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
            if name == "halt.bias":
                parameter.data.fill_(-3)
    return model


def ragged(rows: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = make_inputs(rows, 16)
    for row in range(rows):
        mask[row, 4 + row % 12 :] = 0
    return ids, mask


def by_hand(model: Any, ids: torch.Tensor, mask: torch.Tensor, setting: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One row after the other, from what all layers say."""
    several_labels = model.config.problem_type == "multi_label_classification"
    regression = model.config.problem_type == "regression"
    outputs, blocks = [], []
    for row in range(len(ids)):
        said = model.answers(ids[row : row + 1], mask[row : row + 1])
        chance = [torch.sigmoid(a.logits) if several_labels else torch.softmax(a.logits, -1) for a in said]
        so_far, weight, streak, before = torch.zeros_like(chance[0]), torch.ones(1, 1), 0, None
        for number, answer in enumerate(said, start=1):
            left = len(said) - number
            method = model.adaptive_depth.method
            if method == "dact":
                so_far = chance[number - 1] * weight + so_far * (1 - weight)
                weight = weight * answer.unit if answer.unit is not None else weight
                if several_labels:
                    done = not halting.unsettled_labels(so_far, weight * (1 - setting), left, 0.5)
                else:
                    done = not halting.unsettled(so_far, weight * (1 - setting), left, "tight")
                output = torch.logit(so_far) if several_labels else so_far.log()
            elif method == "deebert":
                measure = halting.label_entropy if several_labels else halting.entropy
                done, output = bool(measure(answer.logits) < setting), answer.logits
            elif regression:
                near = before is not None and abs(answer.logits.item() - before) <= TOLERANCE
                streak = streak + 1 if near else 0
                before, output = answer.logits.item(), answer.logits
                done = streak >= setting
            else:
                now = (chance[number - 1] >= 0.5).tolist() if several_labels else int(answer.logits.argmax())
                streak = streak + 1 if before == now else 0
                before, output = now, answer.logits
                done = streak >= setting
            if done or left == 0:
                break
        plain = several_labels or regression or method == "dact"
        output = output if plain else torch.log_softmax(output, -1)
        outputs.append(output)
        blocks.append(model.answering()[number - 1] + 1)
    return torch.cat(outputs), torch.tensor(blocks)


@pytest.mark.parametrize("exits", [None, [1, 3]])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", ["one", "several"])
@torch.no_grad()
def test_a_batch_answers_as_its_rows_do_one_by_one(method: str, labels: str, exits: list[int] | None) -> None:
    model = adaptive(method, task=several() if labels == "several" else None, exits=exits)
    ids, mask = ragged()
    outputs = model(ids, mask)
    expected, blocks = by_hand(model, ids, mask, SETTINGS[method])
    assert outputs.blocks_run.tolist() == blocks.tolist()
    assert len(set(blocks.tolist())) > 1  # or the test would say nothing
    torch.testing.assert_close(outputs.logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("patience", [1.0, 2.0])
@torch.no_grad()
def test_numbers_that_stay_near_each_other_are_agreed_on(patience: float) -> None:
    model = number_model()
    ids, mask = ragged()
    outputs = model(ids, mask, setting=patience)
    expected, blocks = by_hand(model, ids, mask, patience)
    assert outputs.blocks_run.tolist() == blocks.tolist()
    assert len(set(blocks.tolist())) > 1
    torch.testing.assert_close(outputs.logits, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_number_of_all_layers_is_that_of_the_stock_model(model_type: str) -> None:
    stock = make_model(model_type, numbers(), layers=LAYERS)
    ids, mask = ragged()
    expected = stock(input_ids=ids, attention_mask=mask).logits
    model = make_adaptive_depth(stock, AdaptiveDepth(method="pabee", setting=99)).eval()
    outputs = model(ids, mask)
    assert set(outputs.blocks_run.tolist()) == {LAYERS}
    torch.testing.assert_close(outputs.logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["dact", "deebert"])
def test_other_methods_need_classes(method: Any) -> None:
    with pytest.raises(CheckpointError, match=f"gives a number, and exits of {method} need classes: use pabee"):
        make_adaptive_depth(make_model("bert", numbers()), AdaptiveDepth(method=method, setting=0))


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_layers_after_the_halt_are_not_computed(method: str) -> None:
    model = adaptive(method)
    calls = [0] * LAYERS
    for number, layer in enumerate(family_of_model(model).layers_of(model)):
        output = layer.output.dense
        output.register_forward_hook(lambda *_, at=number: calls.__setitem__(at, calls[at] + 1))
    ids, mask = ragged(1)
    for setting in (0.0, 0.3, 1.0, 100.0):
        calls[:] = [0] * LAYERS
        blocks = int(model(ids, mask, setting=setting).blocks_run[0])
        assert calls == [1] * blocks + [0] * (LAYERS - blocks)


@torch.no_grad()
def test_no_halt_gives_the_stock_answer(model_type: str) -> None:
    stock = make_model(model_type, tiny_task("text-classification"), layers=LAYERS)
    ids, mask = ragged()
    expected = torch.log_softmax(stock(input_ids=ids, attention_mask=mask).logits, -1)
    model = make_adaptive_depth(stock, AdaptiveDepth(method="deebert", setting=0.0)).eval()
    outputs = model(ids, mask)
    assert set(outputs.blocks_run.tolist()) == {LAYERS}
    torch.testing.assert_close(outputs.logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dact_with_margin_0_predicts_what_all_layers_predict() -> None:
    model = adaptive("dact")
    ids, mask = ragged(200)
    weight = torch.ones(200, 1)
    said = model.answers(ids, mask)
    so_far = torch.zeros_like(said[0].logits)
    for answer in said:
        so_far = halting.accumulate(torch.softmax(answer.logits, -1), so_far, weight)
        weight = weight if answer.unit is None else weight * answer.unit
    outputs = model(ids, mask)
    assert outputs.logits.argmax(-1).tolist() == so_far.argmax(-1).tolist()
    assert outputs.blocks_run.float().mean() < LAYERS


@torch.no_grad()
def test_dact_with_margin_0_predicts_the_labels_that_all_layers_predict() -> None:
    model = adaptive("dact", task=several())
    ids, mask = ragged(200)
    early, full = model(ids, mask, setting=0.0), model(ids, mask, setting=NEVER["dact"])
    assert ((early.logits >= 0) == (full.logits >= 0)).all()
    assert early.blocks_run.float().mean() < LAYERS == int(full.blocks_run.min())


@torch.no_grad()
def test_exits_start_as_the_head(model_type: str) -> None:
    model = make_model(model_type, tiny_task("text-classification"), layers=LAYERS)
    make_adaptive_depth(model, AdaptiveDepth(method="dact", setting=0.0, head="dense")).eval()
    start_from_head(model)
    first = torch.randn(3, 32)
    last = model.answer(LAYERS - 1, first)
    said = model.answer(0, first)
    if model_type in ("bert", "roberta"):  # the others' heads have another activation
        torch.testing.assert_close(said.logits, last.logits)
    torch.testing.assert_close(said.unit, torch.sigmoid(torch.ones(3, 1)))


@pytest.mark.parametrize("exits", [None, [2, 3]])
@pytest.mark.parametrize("lengths", [False, True])
@torch.no_grad()
def test_saves_and_loads(tmp_path: Path, lengths: bool, exits: list[int] | None) -> None:
    task = tiny_task("text-classification")
    model = make_model("bert", task, layers=LAYERS)
    if lengths:
        make_length_adaptive(model, LengthAdaptive(keep=[0.9, 0.6, 0.4, 0.3], restore=False, protect_first=True))
    make_adaptive_depth(model, AdaptiveDepth(method="pabee", setting=2, threshold=0.4, exits=exits)).eval()
    checkpoint.save(model, make_tokenizer(["w0"]), tmp_path)
    loaded = checkpoint.load(tmp_path, task)
    assert checkpoint.structure_of(loaded) == checkpoint.structure_of(model)
    ids, mask = ragged()
    ours, again = model(ids, mask), loaded(ids, mask)
    torch.testing.assert_close(ours.logits, again.logits)
    assert ours.blocks_run.tolist() == again.blocks_run.tolist()


def test_missing_halting_units_are_an_error(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    model = adaptive("dact")
    weights = {name: value for name, value in model.state_dict().items() if ".halt." not in name}
    checkpoint.write(checkpoint.config_to_save(model), weights, make_tokenizer(["w0"]), tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks 6 weights .*exits\.0\.halt"):
        checkpoint.load(tmp_path, task)


def test_other_tasks_and_other_methods_are_refused() -> None:
    with pytest.raises(CheckpointError, match="classifies whole texts"):
        make_adaptive_depth(make_model("bert"), AdaptiveDepth(method="dact", setting=0.0))
    with pytest.raises(CheckpointError, match="exits of dact"):
        make_adaptive_depth(adaptive("dact"), AdaptiveDepth(method="pabee", setting=2))
    with pytest.raises(CheckpointError, match="read summary: mean"):
        make_adaptive_depth(adaptive("dact"), AdaptiveDepth(method="dact", setting=0.0, summary="first"))
    with pytest.raises(CheckpointError, match="exits behind every layer, which cannot move to layers 1, 3"):
        make_adaptive_depth(adaptive("dact"), AdaptiveDepth(method="dact", setting=0.0, exits=[1, 3]))


def test_exits_stay_behind_their_layers() -> None:
    depth = AdaptiveDepth(method="dact", setting=0.0, exits=[1, 3])
    assert depth.of_layers([0, 2, 3]).exits == [1, 2]
    assert depth.of_layers([1, 3]).exits == []
    assert depth.of_layers([0, 1, 2]).exits == [1]  # what is now the last layer has the model's own head
    assert AdaptiveDepth(method="dact", setting=0.0).of_layers([1, 3]).exits is None


@torch.no_grad()
def test_one_layer_has_no_exit_and_answers() -> None:
    stock = make_model("bert", tiny_task("text-classification"), layers=1)
    ids, mask = ragged(3)
    expected = torch.log_softmax(stock(input_ids=ids, attention_mask=mask).logits, -1)
    for method, setting in SETTINGS.items():
        model = make_model("bert", tiny_task("text-classification"), layers=1)
        make_adaptive_depth(model, AdaptiveDepth(method=method, setting=setting)).eval()  # type: ignore[arg-type]
        outputs = model(ids, mask)
        assert outputs.blocks_run.tolist() == [1, 1, 1]
        torch.testing.assert_close(outputs.logits, expected, atol=1e-5, rtol=1e-5)
