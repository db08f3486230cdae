"""What all tasks ask of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compressor.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

CHUNK = 1000
"""Examples tokenized in one call: bounds memory on large data."""


def require_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `CheckpointError` unless the tokenizer can tell where in the text its pieces come from."""
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"the tokenizer {type(tokenizer).__name__} of {tokenizer.name_or_path!r} is a slow one without character "
            "offsets: save the checkpoint with its fast tokenizer (a tokenizer.json file)."
        )


def check_length(max_length: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `RequestError` if inputs of `max_length` tokens are longer than the model can read."""
    if max_length > tokenizer.model_max_length:
        raise RequestError(
            f"recipe.features.max_length = {max_length} is more than the {tokenizer.model_max_length} tokens that the "
            "model can read: set it to at most that."
        )


def model_inputs(encoded: BatchEncoding, row: int, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """The row's ids and masks by the tokenizer's own input names (RoBERTa has no token_type_ids)."""
    inputs: dict[str, Any] = {name: encoded[name][row] for name in tokenizer.model_input_names if name in encoded}
    return inputs
