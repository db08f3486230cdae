"""Small tokenizers of every kind, trained on a few sentences, and checkpoints that read by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast, RobertaTokenizerFast

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint
from compressor.tasks import Task
from tests.stages.distill.conftest import model_config

SEEN = [
    "the quick brown fox jumps over the lazy dog",
    "a lower house is lowest of all the newer houses",
    "walking and talking, the walker talked of walks",
    "unhappy people are happier than the unhappiest",
]
OTHER = ["quickest foxes and dogs overtake walkers", "house of the lowered talker", "brownest happy jumping jumps"]
KINDS = ("WordPiece", "BPE", "Unigram")


def make_tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """A fast tokenizer of about 200 pieces, with BERT's or RoBERTa's special tokens."""
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=200, special_tokens=_bert_tokens())
        tokenizer.train_from_iterator(SEEN * 4 + OTHER, trainer)
        tokenizer.decoder = decoders.WordPiece()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        return BertTokenizerFast(tokenizer_object=tokenizer)
    if kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(SEEN * 4 + OTHER, trainer)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        return RobertaTokenizerFast(tokenizer_object=tokenizer)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=_bert_tokens(), unk_token="[UNK]")
    tokenizer.train_from_iterator(SEEN * 4 + OTHER, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def make_reader(folder: Path, task: Task, kind: str, *, seed: int = 0) -> Checkpoint:
    """A checkpoint with random weights and a tokenizer of this kind; BPE for RoBERTa, the others for BERT."""
    tokenizer = make_tokenizer(kind)
    family = "roberta" if kind == "BPE" else "bert"
    config = model_config(family, 2, 32, 4) | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    model = checkpoints.build(config, task, seed=seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(4 if "embeddings" not in name else 20)
    checkpoints.save(model, tokenizer, folder)
    return Checkpoint(folder, folder.name)


def _bert_tokens() -> list[str]:
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
