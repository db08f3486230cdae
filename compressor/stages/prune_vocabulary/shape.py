"""The vocabulary that the stage leaves, as far as it is known before the texts are read. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from compressor.errors import RequestError
from compressor.stages.prune_vocabulary.settings import PruneVocabularySettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: PruneVocabularySettings) -> dict[str, Any]:
    """What `config.json` will say at most: with `coverage` and `keep_file` only the texts and files can tell.

    Raises `RequestError` for a `size` that prunes nothing.
    """
    if settings.size is None:
        return config
    if settings.size >= int(config["vocab_size"]):
        raise RequestError(
            f"prune_vocabulary: size {settings.size} prunes nothing: the model has {config['vocab_size']} pieces."
        )
    return {**config, "vocab_size": settings.size}
