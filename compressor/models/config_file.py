"""The `config.json` of a checkpoint, read and checked without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.models.families import family_of
from compressor.models.locate import locate
from compressor.models.structure import MODEL_TYPE

CONFIG = "config.json"


def read_config(path: str | Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint as a mapping; light.

    Raises:
        CheckpointError: The directory or the file is missing, or it is not JSON of a BERT-like model.
    """
    file = locate(path) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: a checkpoint is a directory written by save_pretrained.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not readable JSON ({error}): copy or download it again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not a mapping of settings: copy or download it again.")
    if config.get("model_type") == MODEL_TYPE and not isinstance(config.get("compressor"), dict):
        raise CheckpointError(f"{file} lacks the entry 'compressor' that its model_type asks for.")
    family = family_of(config, str(file))
    for key in (family.layers_key, family.heads_key, family.hidden_key, family.intermediate_key, family.embedding_key):
        if key is not None and (not isinstance(config.get(key), int) or config[key] < 1):
            raise CheckpointError(f"{file}: '{key}' must be a whole number above zero, not {config.get(key)!r}.")
    if config.get("is_decoder") or config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{file}: only encoders with absolute positions are supported.")
    return config


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names in the order of the model's outputs; () where the checkpoint only has LABEL_0, LABEL_1 ..."""
    named = config.get("id2label")
    if not isinstance(named, Mapping):
        return ()
    try:
        names = tuple(str(name) for _, name in sorted(named.items(), key=lambda item: int(item[0])))
    except ValueError as error:
        raise CheckpointError("config.json: the keys of 'id2label' must be whole numbers.") from error
    return () if names == tuple(f"LABEL_{i}" for i in range(len(names))) else names


def label_count(config: Mapping[str, Any]) -> int:
    """Number of outputs of a classification head; transformers' default is 2."""
    named = config.get("id2label")
    return len(named) if isinstance(named, Mapping) else int(config.get("num_labels", 2))
