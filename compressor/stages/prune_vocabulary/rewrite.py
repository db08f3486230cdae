"""A tokenizer with fewer pieces. Pure, on the mapping of a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from compressor.stages.prune_vocabulary.pieces import Spec, joined, merges, vocabulary


def kept_ids(spec: Spec, pieces: Collection[str]) -> list[int]:
    """Old ids of the pieces that stay, in order: the place in this list is the new id."""
    return sorted(index for piece, index in vocabulary(spec).items() if piece in pieces)


def smaller(spec: Spec, pieces: Collection[str]) -> dict[str, Any]:
    """The same tokenizer with only `pieces`, numbered anew in their order; BPE merges of what is gone go too."""
    new_id = {old: new for new, old in enumerate(kept_ids(spec, pieces))}
    model = dict(spec["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new_id]
        model["unk_id"] = new_id.get(model["unk_id"])
    else:
        model["vocab"] = {piece: new_id[old] for piece, old in model["vocab"].items() if old in new_id}
    if "merges" in model:
        model["merges"] = [
            [first, second]
            for first, second in merges(spec)
            if {first, second, joined(spec, first, second)} <= model["vocab"].keys()
        ]
    result = {**spec, "model": model}
    result["added_tokens"] = [{**token, "id": new_id[token["id"]]} for token in spec["added_tokens"]]
    if spec.get("post_processor"):
        result["post_processor"] = _renumbered(spec["post_processor"], new_id)
    if spec.get("padding"):
        result["padding"] = {**spec["padding"], "pad_id": new_id[spec["padding"]["pad_id"]]}
    return result


def _renumbered(processor: Mapping[str, Any], new_id: Mapping[int, int]) -> dict[str, Any]:
    """A post-processor whose special tokens have their new ids."""
    result = dict(processor)
    if processor.get("processors"):
        result["processors"] = [_renumbered(part, new_id) for part in processor["processors"]]
    if processor.get("special_tokens"):
        result["special_tokens"] = {
            name: {**token, "ids": [new_id[index] for index in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    for name in ("cls", "sep"):
        if isinstance(processor.get(name), (list, tuple)):
            token, index = processor[name]
            result[name] = [token, new_id[index]]
    return result
