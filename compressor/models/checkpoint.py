"""Loading and saving checkpoints: stock models stay stock, changed ones carry their structure and load again.

A checkpoint whose structure plain transformers does not know has `model_type: compressor`, so that stock loading
fails with an error; the stock type and the structure stand under `compressor` in its `config.json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import transformers
from torch import nn

from compressor.config.run import LABEL_TASKS, TEXT_TASKS
from compressor.errors import CheckpointError, StorageError
from compressor.models.config_file import CONFIG, head_outputs, labels_of, read_config, write_config
from compressor.models.families import FAMILIES, Family, base_model_type, family_of
from compressor.models.kinds.registry import make, structure_of
from compressor.models.locate import locate
from compressor.models.structure import Structure, with_structure
from compressor.models.weights import read_shapes, read_weights, write_weights
from compressor.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "build",
    "has_head",
    "load",
    "load_tokenizer",
    "load_without_dials",
    "read_config",
    "require_head",
    "save",
    "structure_of",
    "write",
]

_OTHER_HEADS = (  # of pre-training or of other tasks; not needed, so not read
    "cls.",
    "lm_head.",
    "vocab_",
    "discriminator_predictions.",
    "generator_",
    "qa_outputs.",
    "classifier.",
    "pre_classifier.",
)


def load(path: str | Path, task: Task, *, new_head: bool = False, seed: int = 0) -> PreTrainedModel:
    """Load a checkpoint for a task, in float32 and eval mode; `forward(**inputs[, keep])` gives `task.output_names`.

    `new_head` allows a checkpoint without a head for this task: the head is then drawn from `seed`. Nothing else is
    ever random. The global random state is not touched.

    Raises:
        CheckpointError: Damaged, pickled, not BERT-like, without a head for the task, with other labels, or with
            weights that are missing, left over, of another shape than the config says, or not finite numbers.
    """
    folder = locate(path)
    config = read_config(folder)
    where = str(folder)
    family = family_of(config, where)
    weights = _matched_names(read_weights(folder), family)
    if not _fits_head(config, task, {name: tuple(tensor.shape) for name, tensor in weights.items()}):
        if not new_head:
            raise CheckpointError(f"{where} has no head for {task.name}: fine-tune it for this task first.")
        weights = {name: tensor for name, tensor in weights.items() if not _is_head(name, family)}
        config = {key: value for key, value in config.items() if key not in ("id2label", "label2id", "num_labels")}
    _check_labels(config, task, where)
    model = build(config, task, where=where, seed=seed)
    _assign(model, weights, family, where, new_head=new_head)
    return model


def load_without_dials(path: str | Path, task: Task) -> PreTrainedModel:
    """Load a checkpoint as a model that runs every layer on every token: without exits, lengths and their dials.

    For tools that run the encoder's layers one by one. Errors as `load`.
    """
    model = load(path, task)
    structure = dataclasses.replace(structure_of(model), length_adaptive=None, adaptive_depth=None)
    if structure == structure_of(model):
        return model
    config = {**read_config(locate(path)), "compressor": {"structure": structure.to_config()}}
    config["model_type"] = base_model_type(read_config(locate(path)))
    whole = build(config, task, where=str(path))
    weights = model.state_dict()
    whole.load_state_dict({name: weights[name] for name in whole.state_dict()})
    return whole


def build(config: Mapping[str, Any], task: Task, *, where: str = "the config", seed: int = 0) -> PreTrainedModel:
    """A model of the config's shape and structure for a task, with random weights drawn from `seed`; eval mode.

    Raises:
        CheckpointError: The config does not describe a model that can be built.
    """
    structure = Structure.from_config(config)
    auto_class = getattr(transformers, task.auto_class)
    try:
        stock = _stock_config(config, task)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make(auto_class.from_config(stock).float(), structure)
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError, AssertionError) as error:
        raise CheckpointError(f"{where} does not describe a model that can be built: {error}.") from error
    return cast("PreTrainedModel", model.eval())


def has_head(path: str | Path, task: Task) -> bool:
    """Whether a checkpoint has a head for the task (with the right number of labels); reads only names and shapes."""
    folder = locate(path)
    config = read_config(folder)
    shapes = _matched_names(read_shapes(folder), family_of(config, str(folder)))
    return _fits_head(config, task, shapes)


def require_head(path: str | Path, task: Task) -> None:
    """Raise `CheckpointError` for a checkpoint without a head for the task, or with one for other labels."""
    folder = locate(path)
    if not has_head(folder, task):
        raise CheckpointError(f"{folder} has no head for {task.name}: fine-tune it for this task first.")
    _check_labels(read_config(folder), task, str(folder))


def save(model: nn.Module, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Write weights (safetensors), `config.json` with the structure, and the tokenizer into a directory.

    Raises:
        StorageError: The disk refuses (it may be full).
    """
    write(config_to_save(model), model.state_dict(), tokenizer, path)


def write(
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    path: str | Path,
) -> None:
    """Write the parts of a checkpoint as they are; raises `StorageError` where the disk refuses."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(config, folder)
        tokenizer.save_pretrained(str(folder))
    except OSError as error:
        raise StorageError(f"cannot write the checkpoint {folder}: {error}. Is the disk full?") from error
    write_weights(weights, folder, sparse=Structure.from_config(config).sparse is not None)


def config_to_save(model: nn.Module) -> dict[str, Any]:
    """The `config.json` mapping of a model: stock, or with a model type of its own and its structure."""
    config: PretrainedConfig = cast(Any, model).config
    values = config.to_dict()
    values["dtype"] = "float32"
    values.pop("torch_dtype", None)
    values["architectures"] = [getattr(model, "stock_class", type(model)).__name__]
    return with_structure(values, structure_of(model))


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a checkpoint; it gives segment numbers only if the model reads them.

    Raises:
        CheckpointError: Its files are missing or damaged, or it has no fast version.
    """
    folder = locate(path)
    described = read_config(folder)
    model_type = base_model_type(described)
    if not isinstance(model_type, str):
        raise CheckpointError(f"{folder / CONFIG} names no model type.")
    try:
        config = transformers.AutoConfig.for_model(model_type)
        auto_class: Any = transformers.AutoTokenizer
        tokenizer = auto_class.from_pretrained(
            str(folder), config=config, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # tokenizers raises bare Exception for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {reason}") from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"the tokenizer in {folder} has no fast version: save its tokenizer.json beside it.")
    family = FAMILIES.get(model_type)
    if family is not None and not family.reads_segments(described.get("type_vocab_size")):
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    return cast("PreTrainedTokenizerBase", tokenizer)


def _stock_config(config: Mapping[str, Any], task: Task) -> PretrainedConfig:
    """Transformers' own config object for the stock part, with the task's labels."""
    values = {key: value for key, value in config.items() if key not in ("compressor", "model_type", "torch_dtype")}
    values["dtype"] = "float32"
    if task.labels:
        values["id2label"] = dict(enumerate(task.labels))
        values["label2id"] = {name: index for index, name in enumerate(task.labels)}
        values.pop("num_labels", None)
    elif task.name not in LABEL_TASKS:
        for key in ("id2label", "label2id", "num_labels"):
            values.pop(key, None)
        if task.name == "text-regression":
            values["num_labels"] = head_outputs(config, task.name)
    if task.problem_type:
        values["problem_type"] = task.problem_type
    return transformers.AutoConfig.for_model(str(base_model_type(config)), **values)


def _output_layers(task: Task) -> tuple[str, ...]:
    """Names that the last layer of a stock head may have."""
    if task.name == "question-answering":
        return ("qa_outputs.weight",)
    return ("classifier.weight", "classifier.out_proj.weight")


def _fits_head(config: Mapping[str, Any], task: Task, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    made_for = [str(name) for name in config.get("architectures") or ()]
    if made_for and not any(name.endswith(task.auto_class.removeprefix("AutoModel")) for name in made_for):
        return False
    family = family_of(config)
    wanted = (head_outputs(config, task.name, task.labels), family.hidden_size(config))
    if not any(shapes.get(name) == wanted for name in _output_layers(task)):
        return False
    return task.name not in TEXT_TASKS or f"{family.classifier_dense}.weight" in shapes


def _is_head(name: str, family: Family) -> bool:
    return name.startswith(_OTHER_HEADS) or (
        family.pooler is not None and name.startswith(f"{family.backbone}.{family.pooler}.")
    )


def _matched_names(named: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Names as a task model has them: a bare encoder's lack the backbone's name in front."""
    prefix = f"{family.backbone}."
    if any(name.startswith(prefix) for name in named):
        return dict(named)
    return {name if name.startswith(_OTHER_HEADS) else prefix + name: value for name, value in named.items()}


def _check_labels(config: Mapping[str, Any], task: Task, where: str) -> None:
    known = labels_of(config)
    if task.labels and known and known != task.labels:
        raise CheckpointError(
            f"{where} was trained for the labels {', '.join(known)} in this order; the task has "
            f"{', '.join(task.labels)}."
        )


def _assign(model: nn.Module, weights: dict[str, torch.Tensor], family: Family, where: str, *, new_head: bool) -> None:
    """Copy the weights into the model; every difference that is not an unused or allowed head is an error."""
    own = model.state_dict()
    missing = [name for name in own if name not in weights and not (new_head and _is_head(name, family))]
    if missing:
        raise CheckpointError(f"{where} lacks {len(missing)} weights that its config asks for, first '{missing[0]}'.")
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: '{name}' has shape {list(weights[name].shape)}, its config asks for {list(tensor.shape)}."
            )
    left = [name for name in weights if name not in own and not _is_head(name, family) and "position_ids" not in name]
    if left:
        raise CheckpointError(f"{where} has {len(left)} weights that its config has no place for, first '{left[0]}'.")
    for name in own:
        if name in weights and not _finite(weights[name]):
            raise CheckpointError(
                f"{where}: '{name}' holds infinite or undefined numbers; its training has gone wrong, or the file is "
                "damaged."
            )
    model.load_state_dict({name: weights.get(name, tensor) for name, tensor in own.items()})


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite; their sum shows it at once, unless it overflows."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
