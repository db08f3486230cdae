"""The stage `prune_vocabulary`: tokenizer, ids and embedding rows of only the pieces that texts use.

Zhao et al. 2019, "Extremely Small BERT Models from Mixed-Vocabulary Training", and Ganesh et al. 2021 (a sixth of the
pieces are 94 % of the tokens). With `coverage` 1.0 the texts counted are cut as before; in others, pieces that are gone
become shorter ones that stayed.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from compressor.config.paths import expanded
from compressor.data.reading import read_text
from compressor.errors import CheckpointError, DataError
from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of
from compressor.models.weights import read_weights
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.prune_vocabulary.counting import count_pieces, coverage_of, texts_of
from compressor.stages.prune_vocabulary.pieces import (
    Spec,
    fallback_pieces,
    makers,
    special_pieces,
    vocabulary,
)
from compressor.stages.prune_vocabulary.rewrite import kept_ids, smaller
from compressor.stages.prune_vocabulary.selection import covering, listed, of_size
from compressor.stages.prune_vocabulary.settings import PruneVocabularySettings
from compressor.stages.prune_vocabulary.shape import shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.data.splits import Splits

_BY_PIECE = ("word_embeddings.", "cls.predictions.", "lm_head.", "vocab_projector.", "generator_lm_head.")
"""In names of weights that have one row a piece: the embeddings, and what is left of a language model's head."""
_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")


def run(checkpoint: Checkpoint, settings: PruneVocabularySettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with a smaller vocabulary; all other weights stay as they are.

    Special tokens, single characters and bytes always stay. Texts come from `context.data.train` and
    `settings.texts`.

    Raises:
        RequestError: A size that what must stay does not fit in, or a listed piece that there is not.
        DataError: A file that cannot be read, or no text to count.
        CheckpointError: A tokenizer that cannot lose pieces, or that lost a special token.
    """
    config = checkpoints.read_config(checkpoint.path)
    shape(config, {}, settings)
    checkpoints.load(checkpoint.path, context.task, new_head=True)  # nothing of a damaged checkpoint goes on
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    spec: Spec = json.loads(_backend(tokenizer).to_str())
    _check_rows(spec, config)
    counts = _counts(_backend(tokenizer), settings, context)
    pieces = _choose(spec, counts, _needed(spec, tokenizer, config), settings)
    ids = kept_ids(spec, pieces)
    _shrink(tokenizer, smaller(spec, pieces))
    weights = {name: _rows(name, tensor, ids, config) for name, tensor in read_weights(checkpoint.path).items()}
    checkpoints.write(_config(config, ids), weights, tokenizer, context.output)
    covered = f", {coverage_of(counts, pieces):.2%} of {counts.total():,} tokens" if counts else ""
    context.progress.line(f"prune_vocabulary: {len(ids):,} of {config['vocab_size']:,} pieces stay{covered}")
    return Checkpoint(context.output, checkpoint.key)


def examine(settings: PruneVocabularySettings, teacher: Path, data: Splits) -> None:
    """Look at the teacher's vocabulary before any work.

    Raises:
        RequestError: A size or a list that it cannot be cut to.
        CheckpointError: It has more pieces than the teacher has embeddings.
    """
    tokenizer, config = checkpoints.load_tokenizer(teacher), checkpoints.read_config(teacher)
    spec: Spec = json.loads(_backend(tokenizer).to_str())
    _check_rows(spec, config)
    if settings.size is None and not settings.keep_file:
        return
    _choose(spec, Counter(), _needed(spec, tokenizer, config), settings)


def _check_rows(spec: Spec, config: dict[str, Any]) -> None:
    """Raise `CheckpointError` where a piece has no embedding."""
    piece, index = max(vocabulary(spec).items(), key=lambda item: item[1])
    if index >= int(config["vocab_size"]):
        raise CheckpointError(
            f"prune_vocabulary: the tokenizer's piece '{piece}' is number {index}, and the model has "
            f"{config['vocab_size']} embeddings: resize_token_embeddings was forgotten."
        )


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    backend: Any = tokenizer
    found: Tokenizer = backend.backend_tokenizer
    return found


def _counts(tokenizer: Tokenizer, settings: PruneVocabularySettings, context: StageContext) -> Counter[str]:
    if settings.keep_file:
        return Counter()
    counts = count_pieces(tokenizer, texts_of(context.data.train))
    if settings.texts:
        lines = read_text(expanded(settings.texts)).splitlines()
        counts += count_pieces(tokenizer, (line for line in lines if line.strip()))
    if not counts:
        raise DataError("prune_vocabulary: there is no text to count: give data.train, `texts`, or a `keep_file`.")
    return counts


def _needed(spec: Spec, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]) -> set[str]:
    """Pieces that no rule can drop.

    Where positions are counted from the padding's id on (RoBERTa), that id must not move.
    """
    needed = special_pieces(spec) | fallback_pieces(spec) | set(tokenizer.all_special_tokens)
    if family_of(config).first_position:
        needed |= {piece for piece, index in vocabulary(spec).items() if index <= int(config["pad_token_id"])}
    return needed


def _choose(spec: Spec, counts: Counter[str], needed: set[str], settings: PruneVocabularySettings) -> set[str]:
    ids, made_of = vocabulary(spec), makers(spec)
    if settings.keep_file:
        lines = (line.removesuffix("\r") for line in read_text(expanded(settings.keep_file)).split("\n"))
        names = [line for line in lines if line]
        return listed(names, ids, needed, made_of, settings.keep_file)
    if settings.size is not None:
        return of_size(counts, ids, needed, made_of, settings.size)
    return covering(counts, ids, needed, made_of, settings.coverage or 1.0)


def _shrink(tokenizer: PreTrainedTokenizerBase, spec: Spec) -> None:
    """Give a tokenizer its smaller backend, in place; raises `CheckpointError` if a special token has no id then."""
    before = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    owner: Any = tokenizer
    owner._tokenizer = Tokenizer.from_str(json.dumps(spec))
    wanted = vocabulary(spec)
    found = tokenizer.get_vocab()
    lost = sorted({*before, *(token["content"] for token in spec["added_tokens"])} - found.keys())
    moved = sorted(piece for piece, index in wanted.items() if found.get(piece) != index)
    if lost or moved:
        raise CheckpointError(
            f"prune_vocabulary: '{(lost or moved)[0]}' {'was lost' if lost else 'has another id than its weights'}: "
            "the tokenizer numbers its added tokens in a way that cannot be pruned."
        )


def _rows(name: str, tensor: torch.Tensor, ids: list[int], config: dict[str, Any]) -> torch.Tensor:
    by_piece = any(part in name for part in _BY_PIECE) and len(tensor) == int(config["vocab_size"])
    return tensor[ids] if by_piece else tensor


def _config(config: dict[str, Any], ids: list[int]) -> dict[str, Any]:
    new_id = {old: new for new, old in enumerate(ids)}
    changed = {**config, "vocab_size": len(ids), "dtype": "float32"}
    changed.pop("torch_dtype", None)
    for key in _IDS:
        if isinstance(config.get(key), int) and config[key] in new_id:
            changed[key] = new_id[config[key]]
        elif config.get(key) is not None:
            changed[key] = None  # names no piece of this tokenizer
    return changed
