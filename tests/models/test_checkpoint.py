"""Checkpoints: what loads, what is refused and how, and that nothing is ever random in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from compressor.errors import CheckpointError, StorageError
from compressor.models import checkpoint
from compressor.models.config_file import labels_of
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.locate import hub_name, locate
from compressor.models.structure import LengthAdaptive, Structure
from compressor.tasks import Task, make_task
from compressor.tasks.examples import TextExample
from compressor.training.batches import collate
from tests.models.conftest import TASK_NAMES, largest_difference, make_inputs, make_model
from tests.stages.distill.conftest import WORDS, make_checkpoint, make_tokenizer, model_config, tiny_task

QUESTIONS = tiny_task("question-answering")
ADAPTIVE = LengthAdaptive(keep=[0.9, 0.5, 0.2], minimum=3, restore=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint", QUESTIONS).path


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def edit_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("task_name", TASK_NAMES)
@torch.no_grad()
def test_a_stock_model_stays_stock(model_type: str, task_name: str, tmp_path: Path) -> None:
    task = tiny_task(task_name)
    model = make_model(model_type, task)
    checkpoint.save(model, make_tokenizer(WORDS), tmp_path)
    ids, mask = make_inputs()
    expected = model(input_ids=ids, attention_mask=mask)
    again = checkpoint.load(tmp_path, task)
    stock = getattr(transformers, task.auto_class).from_pretrained(str(tmp_path)).eval()
    assert type(again) is type(model) is type(stock)
    assert largest_difference(expected, again(input_ids=ids, attention_mask=mask)) == 0
    assert largest_difference(expected, stock(input_ids=ids, attention_mask=mask)) < 1e-6
    assert checkpoint.structure_of(again) == Structure()
    assert checkpoint.has_head(tmp_path, task)
    assert not again.training


@torch.no_grad()
def test_a_length_adaptive_model_loads_again_and_plain_transformers_refuses_it(model_type: str, tmp_path: Path) -> None:
    model = make_length_adaptive(make_model(model_type), ADAPTIVE)
    checkpoint.save(model, make_tokenizer(WORDS), tmp_path)
    config = checkpoint.read_config(tmp_path)
    assert config["model_type"] == "compressor"
    assert config["compressor"]["base_model_type"] == model_type
    assert config["architectures"] == [type(make_model(model_type)).__name__]
    assert Structure.from_config(config) == Structure(length_adaptive=ADAPTIVE)
    again = checkpoint.load(tmp_path, QUESTIONS)
    assert checkpoint.structure_of(again).length_adaptive == ADAPTIVE
    ids, mask = make_inputs()
    assert largest_difference(model(ids, mask), again(ids, mask)) == 0
    with pytest.raises(ValueError, match="compressor"):
        transformers.AutoModelForQuestionAnswering.from_pretrained(str(tmp_path))
    tokenizer = checkpoint.load_tokenizer(tmp_path)
    assert tokenizer("red blue")["input_ids"] == make_tokenizer(WORDS)("red blue")["input_ids"]


def test_a_changed_checkpoint_can_be_saved_and_loaded_many_times(folder: Path, tmp_path: Path) -> None:
    model = make_length_adaptive(checkpoint.load(folder, QUESTIONS), LengthAdaptive(keep=[1.0, 0.5]))
    tokenizer = checkpoint.load_tokenizer(folder)
    checkpoint.save(model, tokenizer, tmp_path / "a")
    checkpoint.save(checkpoint.load(tmp_path / "a", QUESTIONS), tokenizer, tmp_path / "b")
    assert (tmp_path / "a" / "config.json").read_text() == (tmp_path / "b" / "config.json").read_text()
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_half_precision_is_loaded_as_float32(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({name: value.half() for name, value in weights.items()}))
    edit_config(folder, dtype="float16", torch_dtype="float16")
    model = checkpoint.load(folder, QUESTIONS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_sharded_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    expected = checkpoint.load(folder, QUESTIONS).state_dict()
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    got = checkpoint.load(folder, QUESTIONS).state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    index["weight_map"][names[0]] = "../one.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside its folder"):
        checkpoint.load(folder, QUESTIONS)


def test_tensors_in_a_pickle_are_read_and_objects_are_not(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    checkpoint.load(folder, QUESTIONS)
    torch.save({"x": Path("/")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin holds pickled objects that could run code"):
        checkpoint.load(folder, QUESTIONS)
    torch.save([1], folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a mapping of names to tensors"):
        checkpoint.load(folder, QUESTIONS)
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin"):
        checkpoint.load(folder, QUESTIONS)


def test_old_names_of_layer_norms(folder: Path) -> None:
    expected = checkpoint.load(folder, QUESTIONS).state_dict()

    def rename(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            if "LayerNorm" in name:
                old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
                weights[old] = weights.pop(name)

    edit_weights(folder, rename)
    got = checkpoint.load(folder, QUESTIONS).state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_a_bare_encoder_needs_a_new_head(tmp_path: Path, model_type: str) -> None:
    stock = make_model(model_type)
    backbone = getattr(stock, model_type)
    backbone.save_pretrained(str(tmp_path))
    make_tokenizer(WORDS).save_pretrained(str(tmp_path))
    assert not checkpoint.has_head(tmp_path, QUESTIONS)
    with pytest.raises(CheckpointError, match="has no head for question-answering: fine-tune it"):
        checkpoint.load(tmp_path, QUESTIONS)
    before = torch.random.get_rng_state()
    first = checkpoint.load(tmp_path, QUESTIONS, new_head=True, seed=1)
    second = checkpoint.load(tmp_path, QUESTIONS, new_head=True, seed=1)
    other = checkpoint.load(tmp_path, QUESTIONS, new_head=True, seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.qa_outputs.weight, second.qa_outputs.weight)
    assert not torch.equal(first.qa_outputs.weight, other.qa_outputs.weight)
    for name, expected in backbone.state_dict().items():
        assert torch.equal(getattr(first, model_type).state_dict()[name], expected)


@pytest.mark.parametrize("task_name", TASK_NAMES)
@pytest.mark.parametrize("other_name", TASK_NAMES)
def test_only_the_head_of_the_same_task_counts(
    model_type: str, task_name: str, other_name: str, tmp_path: Path
) -> None:
    task, other = tiny_task(task_name), tiny_task(other_name)
    checkpoint.save(make_model(model_type, task), make_tokenizer(WORDS), tmp_path)
    assert checkpoint.has_head(tmp_path, other) == (task_name == other_name)
    checkpoint.load(tmp_path, other, new_head=True)


def test_a_head_with_another_number_of_labels_is_no_head(tmp_path: Path) -> None:
    two = tiny_task("text-classification")
    three = make_task("text-classification", two.settings, ("a", "b", "c"))
    path = make_checkpoint(tmp_path, two).path
    assert not checkpoint.has_head(path, three)
    with pytest.raises(CheckpointError, match="no head"):
        checkpoint.load(path, three)
    model = checkpoint.load(path, three, new_head=True)
    assert model.classifier.out_features == 3
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("labels", [("blue", "red"), ("red", "green")])
def test_labels_that_the_checkpoint_was_not_trained_for(tmp_path: Path, labels: tuple[str, str]) -> None:
    task = tiny_task("text-classification")
    path = make_checkpoint(tmp_path, task).path
    assert labels_of(checkpoint.read_config(path)) == task.labels
    with pytest.raises(CheckpointError, match="trained for the labels red, blue in this order"):
        checkpoint.load(path, make_task(task.name, task.settings, labels))


def test_a_head_without_label_names_takes_the_names_of_the_task(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    path = make_checkpoint(tmp_path, task).path
    edit_config(path, id2label=..., label2id=...)
    assert labels_of(checkpoint.read_config(path)) == ()
    assert checkpoint.load(path, task).config.id2label == {0: "red", 1: "blue"}


@pytest.mark.parametrize(("multi_label", "kind"), [(False, "single_label"), (True, "multi_label")])
def test_the_config_says_how_many_labels_an_input_has(tmp_path: Path, multi_label: bool, kind: str) -> None:
    task = tiny_task("text-classification", multi_label=multi_label)
    path = make_checkpoint(tmp_path, task).path
    assert checkpoint.read_config(path)["problem_type"] == f"{kind}_classification"


def test_a_model_of_numbers_has_one_output_whatever_its_labels_were_called(tmp_path: Path) -> None:
    task = tiny_task("text-regression")
    path = make_checkpoint(tmp_path, task).path
    config = checkpoint.read_config(path)
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "LABEL_0"})
    edit_config(path, id2label={"0": "similarity"}, label2id={"similarity": 0}, problem_type=...)
    model = checkpoint.load(path, task)
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")


def missing(weights: dict[str, torch.Tensor]) -> None:
    del weights["bert.encoder.layer.1.output.dense.weight"]


def left_over(weights: dict[str, torch.Tensor]) -> None:
    weights["bert.encoder.layer.2.output.dense.weight"] = torch.zeros(2)


def unknown_module(weights: dict[str, torch.Tensor]) -> None:
    weights["adapter.weight"] = torch.zeros(2)


def other_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["bert.encoder.layer.1.output.dense.weight"] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (missing, "lacks 1 weights that its config asks for, first 'bert.encoder.layer.1.output.dense.weight'"),
        (left_over, "has 1 weights that its config has no place for, first 'bert.encoder.layer.2"),
        (unknown_module, "has 1 weights that its config has no place for, first 'adapter.weight'"),
        (other_shape, r"'bert.encoder.layer.1.output.dense.weight' has shape \[3, 3\], its config asks for \[32, 64\]"),
    ],
)
@pytest.mark.parametrize("new_head", [False, True])
def test_weights_that_do_not_fit_the_config(folder: Path, change: Any, message: str, new_head: bool) -> None:
    edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(folder, QUESTIONS, new_head=new_head)


def test_truncated_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    for read in (checkpoint.load, checkpoint.has_head):
        with pytest.raises(CheckpointError, match=r"model.safetensors is damaged or incomplete"):
            read(folder, QUESTIONS)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights: expected model.safetensors"):
        checkpoint.load(folder, QUESTIONS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json is missing"),
        ("{", "config.json is not readable JSON"),
        ("[]", "config.json is not a mapping"),
        ('{"model_type": "gpt2"}', "config.json has model_type 'gpt2', which is not a BERT-like encoder"),
        ('{"model_type": "bert"}', "config.json: 'num_hidden_layers' must be a whole number above zero, not None"),
        ('{"model_type": "compressor"}', "config.json lacks the entry 'compressor'"),
        ("[" * 100_000, "config.json is nested too deeply to be read"),
    ],
)
def test_damaged_configs(folder: Path, content: str | None, message: str) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read_config(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": 5}, "'architectures' must be a list of names, not 5"),
        ({"architectures": [5]}, r"'architectures' must be a list of names, not \[5\]"),
        ({"compressor": 7}, "'compressor' must be a mapping, not 7"),
        ({"compressor": {"structure": 3}}, "compressor.structure must be a mapping, not 3"),
        ({"compressor": {"structure": {"depth": 3}}}, "unknown key 'depth' in .*config.json: compressor.structure"),
        ({"compressor": {"structure": {"length_adaptive": {"keep": [1.0]}}}}, "length_adaptive: keep has 1 entr"),
        ({"vocab_size": ...}, "'vocab_size' must be a whole number above zero, not None"),
        ({"vocab_size": True}, "'vocab_size' must be a whole number above zero, not True"),
        ({"vocab_size": 10**20}, "'vocab_size' must be a whole number above zero, not 10000"),
        ({"max_position_embeddings": "512"}, "'max_position_embeddings' must be a whole number above zero, not '512'"),
        ({"type_vocab_size": -1}, "'type_vocab_size' must be a whole number, not -1"),
        ({"num_labels": "two"}, "'num_labels' must be a whole number above zero, not 'two'"),
        ({"id2label": ["a"]}, "'id2label' must be a mapping of numbers to names"),
        ({"id2label": {"first": "a"}}, "the keys of 'id2label' must be whole numbers, not 'first'"),
    ],
)
def test_odd_entries_of_a_config(folder: Path, change: dict[str, Any], message: str) -> None:
    edit_config(folder, **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.read_config(folder)
    assert str(folder / "config.json") in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers(folder: Path, value: float) -> None:
    edit_weights(folder, lambda weights: weights["bert.encoder.layer.1.output.dense.weight"][0].fill_(value))
    with pytest.raises(CheckpointError, match="layer.1.output.dense.weight' holds infinite or undefined numbers"):
        checkpoint.load(folder, QUESTIONS)


def test_large_weights_are_numbers(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights["bert.encoder.layer.1.output.dense.weight"].fill_(3e38))
    checkpoint.load(folder, QUESTIONS)


def test_a_padding_outside_the_vocabulary_cannot_be_built(folder: Path) -> None:
    edit_config(folder, pad_token_id=10**6)
    with pytest.raises(CheckpointError, match="does not describe a model that can be built"):
        checkpoint.load(folder, QUESTIONS)


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate(f"~/{folder.name}") == folder
    assert hub_name(f"~/{folder.name}") is None
    with pytest.raises(CheckpointError, match="there is no checkpoint directory ~nobody-of-that-name/x"):
        locate("~nobody-of-that-name/x")


@pytest.mark.parametrize("change", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}])
def test_models_that_only_look_like_an_encoder(folder: Path, change: dict[str, Any]) -> None:
    edit_config(folder, **change)
    with pytest.raises(CheckpointError, match="only encoders with absolute positions"):
        checkpoint.load(folder, QUESTIONS)


def test_a_config_that_cannot_be_built(folder: Path) -> None:
    edit_config(folder, hidden_act="nonsense")
    with pytest.raises(CheckpointError, match="does not describe a model that can be built"):
        checkpoint.load(folder, QUESTIONS)


def test_a_place_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint directory"):
        checkpoint.load(tmp_path / "nowhere", QUESTIONS)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file: a checkpoint is a directory"):
        checkpoint.load(tmp_path / "file", QUESTIONS)
    with pytest.raises(CheckpointError, match="neither a local directory nor a model that the Hugging Face hub"):
        checkpoint.read_config("nobody/no-such-model")


def test_tokenizers_that_cannot_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(good[: len(good) // 2])
    with pytest.raises(CheckpointError, match="the tokenizer in .* cannot be read"):
        checkpoint.load_tokenizer(folder)
    (folder / "tokenizer.json").write_text(good)
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(CheckpointError, match="has no fast version"):
        checkpoint.load_tokenizer(folder)


def test_a_missing_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="the tokenizer in .* cannot be read"):
        checkpoint.load_tokenizer(folder)


def test_a_disk_that_refuses(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = checkpoint.load(folder, QUESTIONS), checkpoint.load_tokenizer(folder)
    (tmp_path / "blocked").touch()
    with pytest.raises(StorageError, match="Is the disk full"):
        checkpoint.save(model, tokenizer, tmp_path / "blocked" / "checkpoint")
    shutil.rmtree(folder)
    (folder / "model.safetensors").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*model.safetensors"):
        checkpoint.save(model, tokenizer, folder)


def test_building_is_a_pure_function_of_config_and_seed() -> None:
    task: Task = QUESTIONS
    config = model_config("bert", 2, 32, 4)
    first, second, other = (checkpoint.build(config, task, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.qa_outputs.weight, second.qa_outputs.weight)
    assert not torch.equal(first.qa_outputs.weight, other.qa_outputs.weight)


def test_a_hub_name_is_told_from_a_local_folder(tmp_path: Path) -> None:
    assert hub_name("org/model") == "org/model"
    assert hub_name(str(tmp_path)) is None
    assert hub_name(None) is None


@pytest.mark.parametrize("kinds", [2, 1])
@torch.no_grad()
def test_segments_are_given_to_models_that_read_them_alone(model_type: str, kinds: int, tmp_path: Path) -> None:
    """DistilBERT has none, whatever tokenizer lies beside it (the Trainer drops the column); others may have one."""
    task = tiny_task("text-classification")
    config = {**model_config(model_type, 2, 32, 4), "type_vocab_size": kinds}
    assert "token_type_ids" in make_tokenizer(WORDS).model_input_names
    checkpoint.save(checkpoint.build(config, task), make_tokenizer(WORDS), tmp_path / "made")

    tokenizer = checkpoint.load_tokenizer(tmp_path / "made")
    reads = kinds > 1 and model_type != "distilbert"
    assert ("token_type_ids" in tokenizer.model_input_names) == reads
    pairs = [TextExample("the w1", pair="is red", labels=("red",))]
    inputs, _ = collate(task.features(pairs, tokenizer, labelled=True), tokenizer, task)
    assert ("token_type_ids" in inputs) == reads and checkpoint.load(tmp_path / "made", task)(**inputs).logits.shape

    tokenizer.save_pretrained(tmp_path / "kept")
    kept = transformers.AutoTokenizer.from_pretrained(tmp_path / "kept")
    assert ("token_type_ids" in kept("the w1", "is red")) == reads
