"""Two texts kept apart below: what depends on what, saving, loading, the other kinds on top, and the graph."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.errors import CheckpointError, DialError
from compressor.models import checkpoint
from compressor.models.families import family_of_model
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.kinds.split_layers import make_split_layers
from compressor.models.kinds.two_texts import apart, is_second, positions
from compressor.models.structure import AdaptiveDepth, LengthAdaptive, SplitLayers, Structure
from compressor.models.sub_network import sub_network
from tests.graph.exported import difference, export_model, fuse, run_graph, run_torch
from tests.models.conftest import make_model
from tests.stages.distill.conftest import make_tokenizer, tiny_task

SEPARATOR = 3
SPLIT = SplitLayers(layers=2, second_position=9)


def split_model(model_type: str = "bert", task: str = "question-answering", split: SplitLayers = SPLIT) -> Any:
    model = make_model(model_type, tiny_task(task), layers=3)
    model.config.sep_token_id = SEPARATOR
    return make_split_layers(model, split).eval()


def pair(first: int, second: int, seed: int = 0) -> torch.Tensor:
    """[CLS] first [SEP] second [SEP] with so many tokens in each text."""
    torch.manual_seed(seed)
    words = torch.randint(5, 39, (first + second,))
    ends = torch.tensor([SEPARATOR])
    return torch.cat([torch.tensor([2]), words[:first], ends, words[first:], ends])


def batch() -> dict[str, np.ndarray]:
    """Texts of several lengths, padded on the right and on the left, one alone and one without any real token."""
    rows = [pair(3, 7), pair(1, 4), pair(6, 1), pair(4, 0)[:-1], torch.zeros(0, dtype=torch.long), pair(2, 3)]
    ids, mask = np.zeros((6, 14), np.int64), np.zeros((6, 14), np.int64)
    for place, row in enumerate(rows):
        part = slice(14 - len(row), 14) if place == 5 else slice(0, len(row))
        ids[place, part], mask[place, part] = row.numpy(), 1
    kinds = is_second(torch.from_numpy(ids), SEPARATOR).numpy().astype(np.int64) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}


def below(model: Any, ids: torch.Tensor, layers: int) -> torch.Tensor:
    """Hidden states behind so many layers, [length, hidden]."""
    seen: list[torch.Tensor] = []
    family = family_of_model(model)
    norm = family_of_model(model).layers_of(model)[layers - 1].get_submodule(family.feed_forward_norm)
    hook = norm.register_forward_hook(lambda module, inputs, result: seen.append(result[0]))
    types = {"token_type_ids": is_second(ids[None], SEPARATOR).long()} if family.has_token_types else {}
    if int(model.config.to_dict().get("type_vocab_size", 2)) < 2:
        types = {}
    model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], **types)
    hook.remove()
    return seen[0]


def test_the_two_texts_by_hand() -> None:
    ids = torch.tensor([[2, 7, SEPARATOR, 8, 9, SEPARATOR, 0], [2, 7, 8, SEPARATOR, 0, 0, 0]])
    second = is_second(ids, SEPARATOR)
    assert second.long().tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1]]
    assert apart(second)[0, 2].tolist() == [0, 0, 0, 1, 1, 1, 1]
    found = positions(ids, second, start=10, first=0, most=12, padding=0)
    assert found[0].tolist() == [0, 1, 2, 10, 11, 11, 11]
    found = positions(ids, second, start=10, first=2, most=99, padding=0)
    assert found[0].tolist() == [2, 3, 4, 12, 13, 14, 1]
    left = torch.tensor([[0, 0, 2, 7, SEPARATOR, 8, SEPARATOR]])
    found = positions(left, is_second(left, SEPARATOR), start=10, first=2, most=99, padding=0)
    assert found[0].tolist() == [1, 1, 2, 3, 4, 12, 13]


@torch.no_grad()
def test_below_no_text_depends_on_the_other(model_type: str) -> None:
    model = split_model(model_type)
    one, other = pair(3, 6), torch.cat([pair(7, 0, seed=4)[:-1], pair(3, 6)[5:]])
    torch.testing.assert_close(below(model, one, 2)[5:], below(model, other, 2)[9:])
    assert (below(model, one, 3)[5:] - below(model, other, 3)[9:]).abs().max() > 1e-3
    longer = torch.cat([one[:5], pair(3, 9, seed=2)[5:]])
    torch.testing.assert_close(below(model, one, 2)[:5], below(model, longer, 2)[:5])


@torch.no_grad()
def test_layers_by_hand() -> None:
    model, ids = split_model(), pair(3, 6)[None]
    second = is_second(ids, SEPARATOR)
    bert = model.bert
    embeddings = bert.embeddings
    places = torch.tensor([[*range(5), *range(9, 16)]])
    states = embeddings.word_embeddings(ids) + embeddings.position_embeddings(places)
    states = embeddings.LayerNorm(states + embeddings.token_type_embeddings(second.long()))
    for index, layer in enumerate(bert.encoder.layer):
        unseen = (second[:, :, None] != second[:, None, :]) & torch.tensor(index < 2)
        states = layer(states, unseen[:, None].float() * -1e30)[0]
    start = model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=second.long()).start_logits
    torch.testing.assert_close(start, model.qa_outputs(states)[..., 0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_single_text_is_read_as_by_the_stock_model(model_type: str) -> None:
    stock, ids = make_model(model_type), pair(8, 0)[None, :-1]
    model = split_model(model_type)
    for name, value in stock(input_ids=ids).items():
        torch.testing.assert_close(model(input_ids=ids)[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", ["question-answering", "text-classification", "depth"])
def test_it_saves_loads_exports_and_fuses(model_type: str, task: str, tmp_path: Path) -> None:
    name = "text-classification" if task == "depth" else task
    model = split_model(model_type, name)
    if task == "depth":
        make_adaptive_depth(model, AdaptiveDepth(method="deebert", setting=0.0)).eval()
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path)
    loaded = checkpoint.load(tmp_path, tiny_task(name))
    assert checkpoint.structure_of(loaded).split_layers == SPLIT
    inputs = batch()
    expected = run_torch(loaded, tiny_task(name), inputs)
    assert difference(run_torch(model, tiny_task(name), inputs), expected) == 0
    real = inputs["attention_mask"].astype(bool) if name == task == "question-answering" else [0, 1, 2, 3, 5]
    graph = export_model(tmp_path, tiny_task(name))
    graphs = [graph] if task == "depth" else [graph, fuse(graph, tmp_path, task=tiny_task(name)).path]
    for path in graphs:
        found = run_graph(path, inputs)[: len(expected)]
        assert all(np.isfinite(value).all() for value in found)
        assert difference([value[real] for value in found], [value[real] for value in expected]) < 1e-4


@torch.no_grad()
def test_a_part_of_the_layers_runs_as_the_model_of_these_layers_alone() -> None:
    model, ids = split_model(), pair(3, 6)[None]
    layers = family_of_model(model).layers_of(model)
    alone = copy.deepcopy(model)
    del family_of_model(alone).layers_of(alone)[1]
    family_of_model(alone).backbone_of(alone).split_layers = SplitLayers(layers=1, second_position=9)
    whole = model(input_ids=ids).start_logits
    with sub_network(model, layers=[0, 2]):
        part = model(input_ids=ids).start_logits
    assert torch.equal(part, alone(input_ids=ids).start_logits)
    assert torch.equal(model(input_ids=ids).start_logits, whole) and len(layers) == 3


def test_fewer_layers_split_fewer() -> None:
    structure = Structure(split_layers=SPLIT)
    assert structure.with_layers([1, 2]).split_layers == SplitLayers(layers=1, second_position=9)
    assert structure.with_layers([2]).split_layers == SplitLayers(layers=0, second_position=9)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(CheckpointError, match="apart in 3 layers, but the model has 3"):
        split_model(split=SplitLayers(layers=3, second_position=9))
    with pytest.raises(CheckpointError, match="needs 'sep_token_id' in config.json"):
        make_split_layers(make_model(), SPLIT)
    with pytest.raises(DialError, match="split_layers drops no tokens"):
        make_length_adaptive(split_model(), LengthAdaptive(keep=[1.0] * 3))
