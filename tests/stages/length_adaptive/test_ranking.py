"""The loss that teaches the first token to rank answers high: by hand, and where its gradient goes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models.kinds.length_adaptive import Rank, make_length_adaptive
from compressor.stages.length_adaptive import stage
from compressor.stages.length_adaptive.objective import SandwichObjective
from compressor.stages.length_adaptive.ranking import ranking_loss, relevance
from compressor.stages.length_adaptive.settings import RANKING, LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import ranking_weight, structure_of
from tests.models.conftest import make_inputs, make_model
from tests.models.test_length_adaptive import adaptive
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task
from tests.stages.length_adaptive.test_stage import batch_of


def test_relevance_is_the_mean_of_both_distributions_and_ignores_padding() -> None:
    target = {"start": torch.tensor([[0.0, 0.0, 9.0]]), "end": torch.tensor([[math.log(3.0), 0.0, 9.0]])}
    found = relevance(target, ("start", "end"), torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found, torch.tensor([[0.625, 0.375, 0.0]]))


def test_ranking_loss_by_hand() -> None:
    relevant = torch.tensor([[0.5, 0.25, 0.25, 0.0]])
    whole = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    half = torch.tensor([[0.8, 0.2]]), torch.tensor([[2, 0]])  # positions 2 and 0 are left
    first = -(0.5 * math.log(0.4) + 0.25 * math.log(0.3) + 0.25 * math.log(0.2))
    second = -(1 / 3 * math.log(0.8) + 2 / 3 * math.log(0.2))
    ranks: list[Rank] = [(whole, None), half]
    assert ranking_loss(ranks, relevant).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_ranks_are_what_orders_the_tokens_and_carry_a_gradient() -> None:
    model = adaptive(make_model("bert"), significance="first")
    ids, mask = make_inputs(2, 20)
    ranks: list[Rank] = []
    model(ids, mask, counts=(12, 12, 5), ranks=ranks)
    assert [tuple(paid.shape) for paid, _ in ranks] == [(2, 20), (2, 12)]  # the second layer drops nothing
    kept = model.tokens_kept(torch.tensor([0.6, 0.6, 0.25]), input_ids=ids, attention_mask=mask)
    paid, positions = ranks[1]
    assert positions is not None
    assert torch.equal(positions, kept[0])
    order = paid.detach().scatter(1, torch.zeros(2, 1, dtype=torch.long), 9.0).argsort(1, descending=True)[:, :5]
    assert torch.equal(positions.gather(1, order), kept[2])
    for paid, _ in ranks:
        torch.testing.assert_close(paid.sum(dim=1), torch.ones(2))
    ranking_loss(ranks, torch.full((2, 20), 0.05)).backward()
    query = model.bert.encoder.layer[0].attention.self.query.weight
    assert query.grad is not None and query.grad.abs().sum() > 0


def test_without_it_nothing_is_collected_and_the_order_is_the_same() -> None:
    model = adaptive(make_model("bert"), significance="first")
    ids, mask = make_inputs(2, 20)
    with torch.no_grad():
        plain, ranked = model(ids, mask, counts=(12, 8, 5)), model(ids, mask, counts=(12, 8, 5), ranks=[])
    assert torch.equal(plain.start_logits, ranked.start_logits)


def test_questions_ranked_by_the_first_token_train_it_by_default() -> None:
    settings = LengthAdaptiveSettings(significance="first")
    assert ranking_weight(settings, "question-answering") == RANKING
    assert ranking_weight(LengthAdaptiveSettings(significance="first", ranking=0), "question-answering") == 0


def test_the_objective_adds_it_where_layers_drop(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    model, inputs, labels = batch_of(task, make_checkpoint(tmp_path, task, layers=3, adaptive=True).path)
    values: dict[str, Any] = {"sandwich": 0, "significance": "first", "length_drop": 0.5}
    make_length_adaptive(model, structure_of(LengthAdaptiveSettings(**values), 3))
    losses = [
        list(SandwichObjective(task, LengthAdaptiveSettings(**values, ranking=weight), 3, 0)(model, inputs, labels, 0))
        for weight in (0.0, 0.5, 1.0)
    ]
    none, some, more = (torch.stack(one).detach() for one in losses)
    assert none[0].item() == some[0].item()  # the full pass drops nothing
    assert (some[1] - none[1]).item() > 0
    assert (more[1] - none[1]).item() == pytest.approx(2 * (some[1] - none[1]).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "values"), [("text-classification", {"significance": "first"}), ("question-answering", {})]
)
def test_it_needs_answers_and_the_first_token(tmp_path: Path, name: str, values: dict[str, Any]) -> None:
    task = tiny_task(name)
    source = make_checkpoint(tmp_path, task)
    assert ranking_weight(LengthAdaptiveSettings(**values), task.name) == 0
    with pytest.raises(RequestError, match="ranking needs question answering"):
        stage.run(source, LengthAdaptiveSettings(ranking=0.1, **values), make_context(tmp_path, task, source))
