"""The length-adaptive encoder against the stock model and against a slow reference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from compressor.errors import DialError
from compressor.models.families import family_of_model
from compressor.models.kinds.adaptive_attention import adaptive_attention
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive
from tests.models import reference
from tests.models.conftest import TASK_NAMES, largest_difference, make_inputs, make_model
from tests.stages.distill.conftest import tiny_task

FULL = [1.0, 1.0, 1.0]
KEEP = [0.8, 0.5, 0.2]


def adaptive(model: Any, keep: list[float] = FULL, **settings: Any) -> Any:
    return make_length_adaptive(copy.deepcopy(model), LengthAdaptive(keep=keep, **settings)).eval()


def ragged() -> tuple[torch.Tensor, torch.Tensor]:
    """A full row, one padded on the right, one on the left, one with holes."""
    ids, mask = make_inputs(4)
    mask[1, 13:] = 0
    mask[2, :6] = 0
    mask[3, 4:7] = 0
    mask[3, 18] = 0
    return ids, mask


@pytest.mark.parametrize("task_name", TASK_NAMES)
@torch.no_grad()
def test_full_length_equals_the_stock_model(model_type: str, task_name: str) -> None:
    task = tiny_task(task_name)
    stock = make_model(model_type, task)
    model = adaptive(stock, restore=task.restores_tokens, protect_first=not task.restores_tokens)
    for ids, mask in (ragged(), make_inputs(2, 1), make_inputs(1, 7)):
        expected, got = stock(input_ids=ids, attention_mask=mask), model(input_ids=ids, attention_mask=mask)
        assert list(got) == list(task.output_names) == list(expected)
        assert largest_difference(expected, got) < 1e-5
    assert list(model.state_dict()) == list(stock.state_dict())


@torch.no_grad()
def test_token_types_reach_the_embeddings() -> None:
    stock = make_model("bert")
    ids, mask = make_inputs()
    segments = (torch.arange(20) > 9).long().expand(3, 20)
    expected = stock(input_ids=ids, attention_mask=mask, token_type_ids=segments)
    assert largest_difference(expected, adaptive(stock)(ids, mask, segments)) < 1e-5
    assert largest_difference(expected, adaptive(stock)(ids, mask)) > 1e-3
    assert adaptive(make_model("distilbert"))(ids, mask, segments).start_logits.shape == (3, 20)


@pytest.mark.parametrize("significance", ["all", "first"])
@torch.no_grad()
def test_dropping_equals_the_slow_reference(model_type: str, significance: str) -> None:
    model = adaptive(make_model(model_type), significance=significance)
    ids, mask = ragged()
    counts = [16, 10, 4]
    kept = model.tokens_kept(torch.tensor(KEEP), input_ids=ids, attention_mask=mask)
    states = _states(model, ids, mask, keep=torch.tensor(KEEP))
    for row in range(len(ids)):
        expected, positions = reference.encode(model, ids[row], mask[row], counts, significance=significance)
        assert [layer[row].tolist() for layer in kept][-1] == positions[-1]
        for layer in range(3):
            real = {position for position in positions[layer] if mask[row, position]}
            assert real == {position for position in kept[layer][row].tolist() if mask[row, position]}
        is_real = mask[row].bool()
        assert (expected - states[row])[is_real].abs().max() < 1e-4


def _states(model: Any, ids: torch.Tensor, mask: torch.Tensor, **dial: Any) -> torch.Tensor:
    """What the head reads, [batch, length, hidden]."""
    seen: list[torch.Tensor] = []
    hook = family_of_model(model).backbone_of(model).register_forward_hook(lambda *call: seen.append(call[2][0]))
    model(ids, mask, **dial)
    hook.remove()
    return seen[0]


@torch.no_grad()
def test_classification_keeps_its_first_token_and_reads_it() -> None:
    task = tiny_task("text-classification")
    model = adaptive(make_model("electra", task), KEEP, restore=False, protect_first=True)
    ids, mask = ragged()
    kept = model.tokens_kept(input_ids=ids, attention_mask=mask)
    assert all(bool((layer[:, 0] == 0).all()) for layer in kept)
    states = _states(model, ids, mask)
    assert states.shape[1] == 4
    expected, _ = reference.encode(model, ids[0], mask[0], [16, 10, 4], protect_first=True)
    assert (expected[0] - states[0, 0]).abs().max() < 1e-4


@torch.no_grad()
def test_without_protection_the_first_token_can_fall() -> None:
    model = adaptive(make_model(), [0.3, 0.1, 0.1])
    ids, mask = make_inputs(32)
    kept = model.tokens_kept(input_ids=ids, attention_mask=mask)
    assert not bool((kept[-1] == 0).any(dim=1).all())


@torch.no_grad()
def test_padding_never_stays_in_place_of_a_real_token() -> None:
    model = adaptive(make_model(), KEEP)
    ids, mask = ragged()
    for layer in model.tokens_kept(input_ids=ids, attention_mask=mask):
        for row, positions in enumerate(layer):
            real = int(mask[row, positions].sum())
            assert real == min(int(mask[row].sum()), len(positions))


@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_more_padding_changes_nothing(side: str) -> None:
    """Absolute positions move with padding on the left, so the stock model moves too; it is held against itself."""
    model = adaptive(make_model("bert"), KEEP)
    ids, mask = make_inputs(2)
    expected = model(ids, mask)
    pad = torch.zeros(2, 9, dtype=torch.long)
    if side == "right":
        got = model(torch.cat([ids, pad], 1), torch.cat([mask, pad], 1))
        assert (got.start_logits[:, :20] - expected.start_logits).abs().max() < 1e-5
        return
    model.bert.embeddings.position_embeddings.weight.data.zero_()
    expected = model(ids, mask)
    got = model(torch.cat([pad, ids], 1), torch.cat([pad, mask], 1))
    assert (got.start_logits[:, 9:] - expected.start_logits).abs().max() < 1e-5


@torch.no_grad()
def test_a_row_does_not_see_the_others_of_its_batch() -> None:
    model = adaptive(make_model(), KEEP)
    ids, mask = make_inputs(5)
    together = model(ids, mask).start_logits
    for row in range(5):
        assert (model(ids[row : row + 1], mask[row : row + 1]).start_logits - together[row]).abs().max() < 1e-5


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("protect_first", [False, True])
@torch.no_grad()
def test_tiny_inputs_and_inputs_of_padding_alone(length: int, protect_first: bool) -> None:
    model = adaptive(make_model(), [0.5, 0.1, 0.1], protect_first=protect_first)
    ids, mask = make_inputs(2, length)
    assert bool(model(ids, mask).start_logits.isfinite().all())
    assert bool(model(ids, mask * 0).start_logits.isfinite().all())
    mask[0] = 0
    kept = model.tokens_kept(input_ids=ids, attention_mask=mask)
    assert kept[-1].shape[1] == min(2, length)


@torch.no_grad()
def test_a_protected_padding_token_counts_as_real() -> None:
    ids, mask = make_inputs(1, 12)
    mask[0, :4] = 0  # 8 real tokens
    kept = [
        adaptive(make_model(), FULL, protect_first=protect).tokens_kept(input_ids=ids, attention_mask=mask)[0]
        for protect in (False, True)
    ]
    assert [len(layer[0]) for layer in kept] == [8, 9]
    assert sorted(kept[1][0].tolist()) == [0, *range(4, 12)]


@torch.no_grad()
def test_keep_out_of_range_is_clamped() -> None:
    model = adaptive(make_model())
    ids, mask = make_inputs(2)
    kept = model.tokens_kept(torch.tensor([7.0, -1.0, 1.0]), input_ids=ids, attention_mask=mask)
    assert [layer.shape[1] for layer in kept] == [20, 2, 2]


@torch.no_grad()
def test_counts_go_before_keep_and_skipped_layers_hand_their_length_on() -> None:
    model = adaptive(make_model(), KEEP)
    ids, mask = make_inputs(2)
    by_keep = model(ids, mask, keep=torch.tensor(KEEP))
    assert largest_difference(by_keep, model(ids, mask, counts=[16, 10, 4])) == 0
    without = adaptive(make_model(), KEEP)
    del without.bert.encoder.layer[1]
    make_length_adaptive(without, LengthAdaptive(keep=[0.8, 0.2]))
    skipped = model(ids, mask, counts=[16, 16, 4], skip_layers={1})
    assert largest_difference(skipped, without(ids, mask, counts=[16, 4])) == 0
    assert largest_difference(model(ids, mask), by_keep) == 0  # nothing of an earlier call stays


@pytest.mark.parametrize("dial", [{"keep": torch.ones(2)}, {"counts": [4, 3]}])
def test_a_dial_of_another_size_is_refused(dial: dict[str, Any]) -> None:
    ids, mask = make_inputs(2)
    with pytest.raises(DialError, match="has 2 entries, the model has 3 layers"):
        adaptive(make_model())(ids, mask, **dial)


def test_settings_of_another_size_are_refused() -> None:
    with pytest.raises(DialError, match="keep has 2 entries, the model has 3 layers"):
        make_length_adaptive(make_model(), LengthAdaptive(keep=[1.0, 1.0]))


@pytest.mark.parametrize("significance", ["all", "first"])
def test_gradients_reach_every_weight_and_dropout_is_drawn(model_type: str, significance: str) -> None:
    model = adaptive(make_model(model_type), KEEP, significance=significance).train()
    ids, mask = ragged()
    first, second = model(ids, mask).start_logits, model(ids, mask).start_logits
    assert not torch.equal(first, second)
    (model(ids, mask).start_logits[mask.bool()] ** 2).sum().backward()
    for name, parameter in family_of_model(model).layers_of(model).named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith((".key.bias", "k_lin.bias")):  # softmax does not see a shift of all scores
            assert float(parameter.grad.abs().max()) > 0, name


def test_gradients_equal_those_of_the_stock_model_at_full_length() -> None:
    stock = make_model()
    model = adaptive(stock)
    ids, mask = make_inputs()
    for one in (stock, model):
        (one(input_ids=ids, attention_mask=mask).start_logits ** 2).sum().backward()
    for (name, expected), got in zip(stock.named_parameters(), model.parameters(), strict=True):
        assert torch.allclose(expected.grad, got.grad, rtol=1e-3, atol=1e-4), name


def test_equal_tokens_keep_their_order() -> None:
    states = torch.zeros(1, 8, 8)
    _, order = adaptive_attention(states, states, states, None, 3, heads=2)
    assert order.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 0]])
    _, order = adaptive_attention(states, states, states, mask, 3, heads=2)
    assert order.tolist() == [[1, 2, 4, 5, 0, 3, 6, 7]]


def test_the_path_of_fused_kernels_gives_the_same_and_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = ragged()
    gradients, outputs = [], []
    for fused in (False, True):
        monkeypatch.setattr(
            "compressor.models.kinds.adaptive_attention._has_fused_training", lambda _, fused=fused: fused
        )
        model = adaptive(make_model(), KEEP)
        outputs.append(model(ids, mask).start_logits)
        (outputs[-1][mask.bool()] ** 2).sum().backward()
        gradients.append(model.bert.encoder.layer[0].attention.self.query.weight.grad)
    assert torch.allclose(*outputs, atol=1e-4)
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-2 * float(gradients[0].abs().max()))


def test_attention_in_half_precision_orders_by_float32_sums() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 40, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context, order = adaptive_attention(query, key, value, None, 10, heads=4)
    exact, expected = adaptive_attention(query, key, value, None, 10, heads=4)
    everywhere, _ = adaptive_attention(query, key, value, None, None, heads=4)
    for rows, places in ((context, order), (exact, expected)):
        assert rows.shape == (2, 10, 16)
        assert (rows - everywhere.gather(1, places[:, :10, None].expand(-1, -1, 16))).abs().max() < 0.05
    assert len(set(order[0, :10].tolist()) & set(expected[0, :10].tolist())) >= 8


@torch.no_grad()
def test_the_first_real_token_ranks_the_others_and_stays() -> None:
    model = adaptive(make_model(), KEEP, significance="first")
    ids, mask = ragged()
    kept = model.tokens_kept(input_ids=ids, attention_mask=mask)
    assert all(layer[:, 0].tolist() == mask.argmax(dim=1).tolist() for layer in kept)
    other = adaptive(make_model(), KEEP).tokens_kept(input_ids=ids, attention_mask=mask)
    assert not torch.equal(kept[-1], other[-1])


def test_hidden_states_are_given_when_asked_for() -> None:
    stock = make_model()
    ids, mask = make_inputs()
    expected = stock(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    got = adaptive(stock)(ids, mask, output_hidden_states=True).hidden_states
    assert len(got) == len(expected) == 4
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, got, strict=True))
