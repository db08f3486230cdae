"""What the artifact says about its model to others: `config.json`, tokenizer files, preprocessing and decoding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import ArtifactError
from compressor.models.structure import MODEL_TYPE
from compressor.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_HEADS = {
    "question-answering": "ForQuestionAnswering",
    "text-classification": "ForSequenceClassification",
    "text-regression": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}
UNNAMED = ("LABEL_0",)
"""The label of a model with one number, as transformers calls it; it also says that there is one."""
_CLASS_NAMES = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "electra": "Electra"}


def stock_config(config: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """A checkpoint's `config.json` as the artifact carries it: the stock model type, class and labels.

    Without the stock type `ORTModelFor...` and `pipeline` would refuse the folder. The structure that stages gave the
    model is in the graph and in the manifest.
    """
    values = {key: value for key, value in config.items() if key not in ("compressor", "_name_or_path")}
    model_type = str(values.get("model_type"))
    if model_type == MODEL_TYPE:
        model_type = str(config.get("compressor", {}).get("base_model_type"))
    values["model_type"] = model_type
    if not values.get("architectures") or MODEL_TYPE in str(values["architectures"]).lower():
        name = _CLASS_NAMES.get(model_type, "".join(part.capitalize() for part in model_type.split("-")))
        values["architectures"] = [name + _HEADS[task.name]]
    labels = UNNAMED if task.name == "text-regression" else task.labels
    if labels:
        values["id2label"] = {str(place): label for place, label in enumerate(labels)}
        values["label2id"] = {label: place for place, label in enumerate(labels)}
    if task.problem_type:
        values["problem_type"] = task.problem_type
    return values


def copy_tokenizer(source: Path, target: Path, max_length: int) -> None:
    """Write the tokenizer of a checkpoint as it was used, with the `tokenizer.json` that Predictor and sample need.

    It names `max_length` as the longest input, so that transformers reads texts and windows as long as we do. An old
    checkpoint may have only a vocabulary, which transformers converts. A folder without a `config.json` is copied
    otherwise as it is. Raises `ArtifactError` if there is no `tokenizer.json` then, `CheckpointError` for damaged
    files.
    """
    if (source / "config.json").is_file():
        from compressor.models.checkpoint import load_tokenizer

        load_tokenizer(source).save_pretrained(str(target))
        _set_longest(target / "tokenizer_config.json", max_length)
        return
    if not (source / "tokenizer.json").is_file():
        raise ArtifactError(f"{source} has no tokenizer.json, which the artifact's Predictor and sample need.")
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    _set_longest(target / "tokenizer_config.json", max_length)


def _set_longest(path: Path, max_length: int) -> None:
    """Write `max_length` as what transformers calls the model's longest input."""
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    text = json.dumps({**values, "model_max_length": max_length}, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def preprocessing_settings(task: Task, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a reader without this package needs to make the same model inputs."""
    settings: dict[str, Any] = {
        "max_length": task.max_length,
        "pad_id": tokenizer.pad_token_id or 0,
        "inputs": list(tokenizer.model_input_names),
        "lower_case": bool(getattr(tokenizer, "do_lower_case", False)),
    }
    stride = getattr(task, "doc_stride", None)
    return settings if stride is None else {**settings, "doc_stride": int(stride)}


def decoding_settings(task: Task) -> dict[str, Any]:
    """What a reader needs to make the same answers of the model's outputs."""
    settings = task.settings
    return {
        "n_best": settings.n_best,
        "max_answer_length": settings.max_answer_length,
        "threshold": settings.threshold,
    }
