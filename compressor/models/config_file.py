"""The `config.json` of a checkpoint, read, checked and written without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.config.run import TaskName
from compressor.config.schema import LARGEST
from compressor.errors import CheckpointError, DialError, StorageError
from compressor.models.dial import validate_keep
from compressor.models.families import Family, family_of
from compressor.models.locate import locate
from compressor.models.structure import MODEL_TYPE, Structure

CONFIG = "config.json"


def read_config(path: str | Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint as a mapping; light.

    Raises:
        CheckpointError: The directory or the file is missing, or it is not JSON of a BERT-like model; names the file.
    """
    file = locate(path) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: a checkpoint is a directory written by save_pretrained.") from error
    except RecursionError as error:
        raise CheckpointError(f"{file} is nested too deeply to be read: copy or download it again.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not readable JSON ({error}): copy or download it again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not a mapping of settings: copy or download it again.")
    if config.get("model_type") == MODEL_TYPE and config.get("compressor") is None:
        raise CheckpointError(f"{file} lacks the entry 'compressor' that its model_type asks for.")
    if not isinstance(config.get("compressor", {}), dict):
        raise CheckpointError(f"{file}: 'compressor' must be a mapping, not {config['compressor']!r:.80}.")
    family = family_of(config, str(file))
    _check_sizes(config, family, file)
    _check_names(config, file)
    _check_structure(config, family, file)
    if config.get("is_decoder") or config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{file}: only encoders with absolute positions are supported.")
    return config


def write_config(config: Mapping[str, Any], folder: Path) -> None:
    """Write a mapping as the `config.json` of a folder; raises `StorageError` where the disk refuses."""
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {folder / CONFIG}: {error}. Is the disk full?") from error


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names in the order of the model's outputs; () where the checkpoint only has LABEL_0, LABEL_1 ..."""
    named = config.get("id2label")
    if not isinstance(named, Mapping):
        return ()
    names = tuple(str(name) for _, name in sorted(named.items(), key=lambda item: int(item[0])))
    return () if names == tuple(f"LABEL_{i}" for i in range(len(names))) else names


def label_count(config: Mapping[str, Any]) -> int:
    """Number of outputs of a classification head; transformers' default is 2."""
    named = config.get("id2label")
    return len(named) if isinstance(named, Mapping) else int(config.get("num_labels", 2))


def head_outputs(config: Mapping[str, Any], task: TaskName, labels: Sequence[str] = ()) -> int:
    """Number of outputs of a task's head; where they are labels without names, as many as the checkpoint has."""
    fixed: dict[TaskName, int] = {"question-answering": 2, "text-regression": 1}
    return fixed.get(task) or len(labels) or label_count(config)


def _check_sizes(config: Mapping[str, Any], family: Family, file: Path) -> None:
    needed = (
        family.layers_key,
        family.heads_key,
        family.hidden_key,
        family.intermediate_key,
        family.embedding_key,
        "vocab_size",
        "max_position_embeddings",
    )
    optional = [key for key in ("type_vocab_size", "num_labels") if key in config]
    for key in [*filter(None, needed), *optional]:
        value = config.get(key)
        least = 0 if key == "type_vocab_size" else 1
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
            above = "" if least == 0 else " above zero"
            raise CheckpointError(f"{file}: '{key}' must be a whole number{above}, not {value!r:.80}.")


def _check_names(config: Mapping[str, Any], file: Path) -> None:
    """Names of the model's classes and of its labels."""
    classes = config.get("architectures")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise CheckpointError(f"{file}: 'architectures' must be a list of names, not {classes!r:.80}.")
    labels = config.get("id2label")
    if labels is None:
        return
    if not isinstance(labels, dict) or not labels:
        raise CheckpointError(f"{file}: 'id2label' must be a mapping of numbers to names, not {labels!r:.80}.")
    for key in labels:
        if not key.isdecimal() or len(key) > len(str(LARGEST)):
            raise CheckpointError(f"{file}: the keys of 'id2label' must be whole numbers, not {key!r:.80}.")


def _check_structure(config: Mapping[str, Any], family: Family, file: Path) -> None:
    adaptive = Structure.from_config(config, where=str(file)).length_adaptive
    if adaptive is None:
        return
    try:
        validate_keep(adaptive.keep, family.layer_count(config))
    except DialError as error:
        raise CheckpointError(f"{file}: compressor.structure.length_adaptive: {error}") from error
