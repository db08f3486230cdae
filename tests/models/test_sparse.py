"""Matrices stored without their zeros: exact, small, refused when damaged; and zeros that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from compressor.errors import CheckpointError
from compressor.models import checkpoint
from compressor.models.kinds.sparse import make_sparse
from compressor.models.structure import Sparse
from compressor.models.weights import read_shapes, read_weights, write_weights
from compressor.models.zeros import parts_of, shapes_in, with_zeros, without_zeros
from tests.models.conftest import make_inputs, make_model
from tests.stages.distill.conftest import make_tokenizer, tiny_task


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.integers(0, 99))
def test_parts_give_the_whole_back(rows: int, columns: int, sparsity: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(rows, columns, generator=generator)
    tensor[torch.rand(rows, columns, generator=generator) < sparsity] = 0
    parts, metadata = without_zeros({"a": tensor, "bias": torch.zeros(4)})
    assert ("a" in parts) == (int((tensor == 0).sum()) * 32 <= tensor.numel())
    whole = with_zeros(parts, shapes_in(metadata))
    assert torch.equal(whole["a"], tensor) and torch.equal(whole["bias"], torch.zeros(4))


def pruned_model() -> torch.nn.Module:
    model = make_model("bert", tiny_task("text-classification"))
    for parameter in model.bert.encoder.parameters():
        if parameter.ndim == 2:
            parameter.data[torch.rand_like(parameter) < 0.9] = 0
    return make_sparse(model, Sparse(sparsity=0.9))


def test_the_file_is_small_and_loads_as_it_was(tmp_path: Path) -> None:
    model = pruned_model()
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "sparse")
    loaded = checkpoint.load(tmp_path / "sparse", tiny_task("text-classification"))
    assert checkpoint.structure_of(loaded).sparse == Sparse(sparsity=0.9)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert read_shapes(tmp_path / "sparse") == {name: tuple(t.shape) for name, t in model.state_dict().items()}
    matrices = [p for p in model.get_submodule("bert.encoder").parameters() if p.ndim == 2]
    write_weights(model.state_dict(), tmp_path)
    saved = tmp_path.joinpath("model.safetensors").stat().st_size
    saved -= tmp_path.joinpath("sparse", "model.safetensors").stat().st_size
    whole = 4 * sum(matrix.numel() for matrix in matrices)
    assert saved > 0.8 * whole  # 1 - 0.1 - 1/32, less the names


def test_stock_loading_is_an_error(tmp_path: Path) -> None:
    checkpoint.save(pruned_model(), make_tokenizer(["w"]), tmp_path)
    with pytest.raises((ValueError, KeyError), match="compressor"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("damage", ["numbers", "places", "shape", "negative"])
def test_damaged_parts_are_an_error(tmp_path: Path, damage: str) -> None:
    parts, metadata = without_zeros({"a": torch.eye(8)})
    numbers, places = parts_of("a")
    if damage == "numbers":
        parts[numbers] = parts[numbers][1:]
    if damage == "places":
        del parts[places]
    shape = {"shape": "[9, 8]", "negative": "[-8, -8]"}.get(damage, "[8, 8]")
    from safetensors.torch import save_file

    save_file(parts, tmp_path / "model.safetensors", {key: f'{{"a": {shape}}}' for key in metadata})
    with pytest.raises(CheckpointError, match="damaged or incomplete .*'a'"):
        read_weights(tmp_path)


def test_zeros_stay_in_training() -> None:
    model = pruned_model().train()
    weight = model.get_parameter("bert.encoder.layer.0.output.dense.weight")
    zero, before = weight == 0, weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids, mask = make_inputs(4, 12)
    for _ in range(2):
        model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        optimizer.step()
    assert torch.equal(weight == 0, zero)
    assert not torch.equal(weight, before)
