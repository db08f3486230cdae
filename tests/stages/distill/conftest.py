"""Tiny checkpoints of every family with one vocabulary, and examples for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import FeatureSettings
from compressor.data.splits import Splits
from compressor.models import checkpoint as checkpoints
from compressor.models.structure import LengthAdaptive
from compressor.progress import Silent
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill import stage
from compressor.tasks import Task, make_task
from compressor.tasks.examples import Answer, QuestionExample, ScoredExample, TextExample, TokenExample
from compressor.training import train as real_train

WORDS = [f"w{i}" for i in range(30)] + ["red", "blue", "the", "is"]


def make_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with BERT's special tokens."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def model_config(model_type: str, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """A tiny `config.json`."""
    common = {"model_type": model_type, "vocab_size": len(WORDS) + 5, "max_position_embeddings": 64, "pad_token_id": 0}
    if model_type == "distilbert":
        return {**common, "n_layers": layers, "dim": hidden, "n_heads": heads, "hidden_dim": 2 * hidden}
    return {
        **common,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 2 * hidden,
        "embedding_size": 16,  # ELECTRA's
        "type_vocab_size": 2,
    }


def make_checkpoint(
    folder: Path, task: Task, model_type: str = "bert", *, layers: int = 2, hidden: int = 32, heads: int = 4,
    seed: int = 0, adaptive: bool = False, words: list[str] = WORDS,
) -> Checkpoint:  # fmt: skip
    """Write a checkpoint with random weights."""
    config = model_config(model_type, layers, hidden, heads)
    if adaptive:
        structure = LengthAdaptive(keep=[0.5] * layers, restore=task.restores_tokens)
        config["compressor"] = {
            "base_model_type": model_type,
            "structure": {"length_adaptive": {"keep": structure.keep, "restore": structure.restore}},
        }
    model = checkpoints.build(config, task, seed=seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embeddings" not in name:
            parameter.data.mul_(4)  # so that outputs differ between inputs
    checkpoints.save(model, make_tokenizer(words), folder)
    return Checkpoint(folder, folder.name)


def make_examples(name: str, count: int, *, multi_label: bool = False) -> list[Any]:
    """Examples whose answer is the word behind `is`, or the colour named (3.0 for red and 1.0 for blue)."""
    rows: list[Any] = []
    for i in range(count):
        colour = ("red", "blue")[i % 2]
        filler = [WORDS[(i * 7 + j) % 30] for j in range(3 + i % 9)]
        text = " ".join([*filler, "the", "w1", "is", colour, *filler[:2]])
        if name == "question-answering":
            start = text.index(f"is {colour}") + 3
            rows.append(QuestionExample(str(i), "the w1 is", text, (Answer(colour, start),)))
        elif name == "text-classification":
            labels = ("red", "blue") if multi_label and i % 3 == 0 else (colour,)
            rows.append(TextExample(text, labels=labels))
        elif name == "text-regression":
            rows.append(ScoredExample(text, score={"red": 3.0, "blue": 1.0}[colour]))
        else:
            words = text.split()
            rows.append(TokenExample(tuple(words), tuple("B-C" if word == colour else "O" for word in words)))
    return rows


def tiny_task(name: str, *, multi_label: bool = False) -> Task:
    """A task by name with short inputs."""
    labels = {"text-classification": ("red", "blue"), "token-classification": ("O", "B-C")}
    return make_task(name, FeatureSettings(max_length=32), labels.get(name, ()), multi_label=multi_label)


def make_context(folder: Path, task: Task, teacher: Checkpoint, count: int = 24) -> StageContext:
    """A context with training examples and folders of its own."""
    train = make_examples(task.name, count, multi_label=task.multi_label)
    return StageContext(
        task=task,
        data=Splits("toy", train, [], [], [], task.labels, task.multi_label, {}),
        teacher=teacher,
        device=DeviceProfile(name="test", description="", providers=[Provider(name="CPUExecutionProvider")]),
        seed=3,
        output=folder / "output",
        work=folder / "work",
        progress=Silent(),
    )


@pytest.fixture
def question_task() -> Task:
    return tiny_task("question-answering")


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of the training that the stage runs."""
    seen: list[float] = []

    def watched(*arguments: Any, **keywords: Any) -> Any:
        summary = real_train(*arguments, **keywords)
        seen.extend(summary.losses)
        return summary

    monkeypatch.setattr(stage, "train", watched)
    return seen
