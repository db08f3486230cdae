"""Importance of heads, units and dimensions against a slow reference: one mask at a time, one example at a time."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import TrainingError
from compressor.models import checkpoint
from compressor.models.families import family_of_model
from compressor.models.kinds.widths import narrow
from compressor.training.importance import by_gradients, importance
from compressor.training.ranking import best, best_over_layers
from compressor.training.sample import sample_batches
from tests.models.conftest import FAMILY_NAMES
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task


def measured(folder: Path, model_type: str = "bert", task_name: str = "text-classification") -> Any:
    task = tiny_task(task_name)
    source = make_checkpoint(folder / "source", task, model_type)
    context = make_context(folder, task, source, count=5)
    batches = sample_batches(context, checkpoint.load_tokenizer(source.path), 5, batch_size=3, title="test")
    return task, checkpoint.load(source.path, task), batches


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
def test_taylor_and_fisher_are_gradients_of_each_examples_loss(tmp_path: Path, model_type: str) -> None:
    """A head's mask gradient is the sum of w·g over its output weights; the same of units."""
    task, model, batches = measured(tmp_path, model_type)
    family = family_of_model(model)
    taylor, fisher = (by_gradients(model, batches, task, squared=squared) for squared in (False, True))
    heads, units, rows = torch.zeros(2, 4), torch.zeros(2, 64), 0
    squares = torch.zeros(2, 4)
    for inputs, labels in batches:
        for row in range(len(inputs["input_ids"])):
            model.zero_grad()
            one = {k: v[row : row + 1] for k, v in inputs.items() if k != "token_type_ids" or family.has_token_types}
            task.loss(model(**one), {name: value[row : row + 1] for name, value in labels.items()}).backward()
            for layer, module in enumerate(family.layers_of(model)):
                out = attrgetter(family.attention_output)(module).weight
                found = (out * out.grad).sum(dim=0).view(4, 8).sum(dim=1)
                heads[layer] += found.abs()
                squares[layer] += found.square()
                outer = attrgetter(family.feed_forward_out)(module).weight
                units[layer] += (outer * outer.grad).sum(dim=0).abs()
            rows += 1
    torch.testing.assert_close(torch.stack(taylor.heads), heads / rows, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(torch.stack(taylor.units), units / rows, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(torch.stack(fisher.heads), squares / rows, rtol=1e-3, atol=1e-8)


def test_a_dimension_counts_wherever_the_stream_is_read(tmp_path: Path) -> None:
    """Against the loss when one dimension is scaled a little behind the embeddings and every norm."""
    task, model, batches = measured(tmp_path)
    found = by_gradients(model, batches, task, squared=False).stream
    family, scale = family_of_model(model), torch.ones(32)
    places = [family.embedded(model)]
    for layer in family.layers_of(model):
        places += [attrgetter(path)(layer) for path in (family.attention_norm, family.feed_forward_norm)]
    for place in places:
        place.register_forward_hook(lambda module, arguments, result: result * scale)
    for dimension in (0, 17):
        expected, step, rows = 0.0, 1e-2, 0
        for inputs, labels in batches:
            for row in range(len(inputs["input_ids"])):
                sides = []
                for sign in (1, -1):
                    scale = torch.ones(32)
                    scale[dimension] += sign * step
                    with torch.no_grad():
                        outputs = model(**{name: value[row : row + 1] for name, value in inputs.items()})
                    wanted = {name: value[row : row + 1] for name, value in labels.items()}
                    sides.append(task.loss(outputs, wanted).item())
                expected += abs(sides[0] - sides[1]) / (2 * step)
                rows += 1
        assert found[dimension].item() == pytest.approx(expected / rows, rel=0.05, abs=1e-4)


@pytest.mark.parametrize("kind", ["taylor", "fisher", "magnitude", "random"])
@pytest.mark.parametrize("task_name", ["text-classification", "question-answering"])
def test_shapes_of_narrowed_models(tmp_path: Path, kind: Any, task_name: str) -> None:
    task, model, batches = measured(tmp_path, task_name=task_name)
    narrow(model, [[0, 3], [1, 2, 3]], [list(range(8)), list(range(40))])
    found = importance(kind, model, batches, task, seed=1)
    assert [len(own) for own in found.heads] == [2, 3] and [len(own) for own in found.units] == [8, 40]
    assert found.stream.shape == (32,)
    assert found.summary is None or found.summary.shape == (32,)
    assert (found.summary is not None) or task_name == "question-answering"
    again = importance(kind, model, batches, task, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(found.units, again.units, strict=True))


def test_there_must_be_training_data(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    context = make_context(tmp_path, task, source, count=0)
    with pytest.raises(TrainingError, match="test: there is no training data"):
        sample_batches(context, checkpoint.load_tokenizer(source.path), 5, title="test")


SCORES = st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=12)


@given(SCORES, st.data())
def test_the_best_are_no_worse_than_the_others(scores: list[float], data: st.DataObject) -> None:
    kept = best(scores, data.draw(st.integers(0, len(scores))))
    gone = [score for index, score in enumerate(scores) if index not in kept]
    assert kept == sorted(set(kept))
    assert not kept or not gone or min(scores[index] for index in kept) >= max(gone)


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(1, 3), st.data())
def test_one_ranking_keeps_enough_and_something_everywhere(
    scores: list[list[float]], block: int, data: st.DataObject
) -> None:
    total = data.draw(st.integers(0, sum(map(len, scores))))
    kept = best_over_layers(scores, total, block=block, least=1)
    least = sum(min(block, len(own)) for own in scores)
    assert max(total, least) <= sum(map(len, kept)) < max(total, least) + block
    for own, found in zip(scores, kept, strict=True):
        assert found == best(own, len(found)) or sorted(own[i] for i in found) == sorted(
            own[i] for i in best(own, len(found))
        )


def test_layers_are_compared_relative_to_their_own_scale() -> None:
    assert best_over_layers([[1000.0, 10.0, 10.0], [0.2, 0.3, 0.3]], 4) == [[0], [0, 1, 2]]
