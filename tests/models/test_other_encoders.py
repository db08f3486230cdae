"""BiLSTM and CNN in the place of transformer layers: rows one by one, saving, loading, the graph, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from compressor.errors import CheckpointError, RequestError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint, macs
from compressor.models.kinds.convolutional import Convolution
from compressor.models.kinds.recurrent import RecurrentEncoder
from compressor.models.structure import Convolutional, Recurrent, Structure
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.stages.distill.settings import StudentSettings
from compressor.stages.distill.shape import student_config
from compressor.stages.registry import REASONS, STAGES
from tests.models.conftest import make_inputs
from tests.models.test_widths import run
from tests.stages.distill.conftest import make_context, make_tokenizer, model_config, tiny_task

KINDS: list[Any] = ["bilstm", "cnn"]


def make_student(kind: Any, model_type: str = "bert", task: str = "text-classification", **shape: Any) -> Any:
    base = model_config(model_type, 2, 32, 4)
    wishes = StudentSettings(kind=kind, **{"hidden_size": 24, "embedding_size": 20, "layers": 2, **shape})
    config = student_config(base, base, wishes, summary=not tiny_task(task).restores_tokens)
    model = checkpoint.build(config, tiny_task(task))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(5)  # so that outputs differ between inputs
    return model


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "token-classification"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_batches_are_rows_one_by_one_in_pytorch_and_onnx(kind: Any, task: str, tmp_path: Path) -> None:
    model = make_student(kind, task=task)
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    loaded = checkpoint.load(tmp_path / "checkpoint", tiny_task(task))
    assert checkpoint.structure_of(loaded) == checkpoint.structure_of(model)
    export(Checkpoint(tmp_path / "checkpoint", "key"), tiny_task(task), tmp_path / "graph.onnx", opset=17, dial="fixed")
    ids, mask = make_inputs(4, 12)
    lengths = (12, 7, 1, 3)
    for row, length in enumerate(lengths):
        mask[row, length:] = 0
    together = loaded(input_ids=ids, attention_mask=mask)
    graph = run(tmp_path / "graph.onnx", ids, mask)
    for row, length in enumerate(lengths):
        alone = model(input_ids=ids[row : row + 1, :length], attention_mask=mask[row : row + 1, :length])
        for name, array in zip(tiny_task(task).output_names, graph, strict=True):
            real = slice(length) if tiny_task(task).restores_tokens else slice(None)
            np.testing.assert_allclose(together[name][row][real], alone[name][0], atol=1e-5)
            np.testing.assert_allclose(array[row][real], alone[name][0], atol=1e-4)
    first = tiny_task(task).output_names[0]
    assert float(together[first].std(dim=0).max()) > 1e-3


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "token-classification"])
@torch.no_grad()
def test_a_bilstm_becomes_int8(task: str, tmp_path: Path) -> None:
    model = make_student("bilstm", task=task, hidden_size=64, embedding_size=48, layers=2)
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    source = Checkpoint(tmp_path / "checkpoint", "key")
    export(source, tiny_task(task), tmp_path / "graph.onnx", opset=17, dial="fixed")
    context = make_context(tmp_path, tiny_task(task), source)
    ours = PassContext(
        task=context.task, data=context.data, tokenizer=checkpoint.load_tokenizer(source.path), checkpoint=source,
        device=context.device, seed=0, progress=Silent(),
    )  # fmt: skip
    settings = QuantizeSettings(backend="onnxruntime", mode="dynamic", smooth="off", embeddings="keep")
    result = run_pass(pass_spec("quantize"), tmp_path / "graph.onnx", tmp_path / "int8.onnx", settings, ours)
    kinds = [node.op_type for node in onnx.load(result.path).graph.node]
    assert kinds.count("DynamicQuantizeLSTM") == 2 and "LSTM" not in kinds
    ids, mask = make_inputs(4, 12)
    mask[1, 7:] = 0
    for exact, rounded in zip(run(tmp_path / "graph.onnx", ids, mask), run(result.path, ids, mask), strict=True):
        assert 0 < np.abs(exact - rounded)[0].max() < 0.1 * np.abs(exact)[0].max()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_every_family_counts_its_weights(kind: Any, model_type: str, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    for shape in ({}, {"embedding_size": None, "layers": 1}):
        model = make_student(kind, model_type, **shape)
        config = checkpoint.config_to_save(model)
        assert macs.parameter_count(config, task) == sum(parameter.numel() for parameter in model.parameters())
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    export(Checkpoint(tmp_path / "checkpoint", "key"), task, tmp_path / "graph.onnx", opset=17, dial="fixed")
    ids, mask = make_inputs(3, 9)
    mask[1, 4:] = 0
    found = run(tmp_path / "graph.onnx", ids, mask)[0]
    np.testing.assert_allclose(found, model(input_ids=ids, attention_mask=mask).logits, atol=1e-4)


def test_macs_by_hand() -> None:
    counted = []
    for kind in KINDS:
        config = checkpoint.config_to_save(make_student(kind, layers=1))
        structure = Structure.from_config(config)
        counted.append(macs.count(config, structure, length=10, task="text-classification"))
    head, norm = 24 * 24 + 24 * 2, 10 * 20
    assert counted[0] == 10 * 2 * 4 * 12 * (20 + 12) + head + norm
    assert counted[1] == 10 * (3 + 4 + 5) * 20 * 8 + head + norm


@torch.no_grad()
def test_a_window_is_a_convolution() -> None:
    layer = Convolution(6, 8, [3, 4])
    states = torch.randn(2, 9, 6)
    expected = []
    for window, filters in zip((3, 4), layer.filters, strict=True):
        kernel = filters.weight.view(4, window, 6).transpose(1, 2)
        padded = functional.pad(states.transpose(1, 2), (window // 2, window - 1 - window // 2))
        expected.append(functional.conv1d(padded, kernel, filters.bias).transpose(1, 2))
    torch.testing.assert_close(layer(states), torch.relu(torch.cat(expected, dim=-1)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_summary_is_what_both_directions_know_at_their_ends() -> None:
    encoder = RecurrentEncoder(6, 8, 1, dropout=0.1, summary=True).eval()
    states = torch.randn(1, 5, 6)
    _, (last, _) = encoder.lstm(states)
    found = encoder(states, torch.ones(1, 5, dtype=torch.long))
    torch.testing.assert_close(found[:, 0], torch.cat([last[0], last[1]], dim=-1))
    torch.testing.assert_close(found[:, 1:], encoder.lstm(states)[0][:, 1:])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"kind": "bilstm", "hidden_size": 25}, "hidden_size 25 cannot be shared evenly by two directions"),
        ({"kind": "cnn", "hidden_size": 25}, "hidden_size 25 cannot be shared evenly by 3 windows"),
        ({"kind": "bilstm", "heads": 2}, "a bilstm student has no heads"),
        ({"kind": "cnn", "intermediate_size": 2}, "a cnn student has no intermediate_size"),
        ({"embedding_size": 8}, "a transformer student has no embedding_size"),
        ({"kind": "bilstm", "windows": [3]}, "a bilstm student has no windows"),
        ({"kind": "cnn", "windows": []}, "lists no window"),
    ],
)
def test_impossible_students(shape: dict[str, Any], message: str) -> None:
    base = model_config("bert", 2, 32, 4)
    with pytest.raises(RequestError, match=message):
        student_config(base, base, StudentSettings(**shape))


@pytest.mark.parametrize("structure", [{"recurrent": {"layers": 1}}, {"convolutional": {"windows": [3, 4]}}])
def test_a_width_that_cannot_be_shared_is_no_checkpoint(structure: Any) -> None:
    config = model_config("bert", 2, 33, 1) | {"compressor": {"base_model_type": "bert", "structure": structure}}
    with pytest.raises(CheckpointError, match="33"):
        checkpoint.build(config, tiny_task("text-classification"))


@pytest.mark.parametrize("kind", [Recurrent(layers=1), Convolutional(windows=[3])])
def test_stages_that_need_transformer_layers_refuse_them(kind: Any) -> None:
    name = "recurrent" if isinstance(kind, Recurrent) else "convolutional"
    structure = Structure(**{name: kind})
    assert structure.with_layers([0]) == structure
    works = {"finetune", "distill", "prune_vocabulary", "factorize_embeddings"}
    assert all(stage in REASONS[name] for stage in works)
    for spec in STAGES.values():
        if spec.name in works:
            spec.check_structure(structure, spec.name)
        else:
            with pytest.raises(RequestError, match=f"'{spec.name}' cannot work on .*: it has no transformer layers"):
                spec.check_structure(structure, spec.name)
