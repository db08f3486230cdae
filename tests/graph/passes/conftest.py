"""A tiny checkpoint, stock and length-adaptive, its exported graphs, and a context to run passes in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast

from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import FeatureSettings
from compressor.data.splits import Splits
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.models import checkpoint
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive
from compressor.stages.context import Checkpoint
from compressor.tasks import make_task
from compressor.tasks.examples import Answer, QuestionExample

LAYERS, HIDDEN = 3, 32
WORDS = [f"word{index}" for index in range(60)]


def make_examples(count: int, seed: int = 0) -> list[QuestionExample]:
    """Contexts of 8 to 40 words; the question is a word of it and its answer the word behind."""
    random = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        words = [WORDS[number] for number in random.choice(60, size=random.integers(8, 41), replace=False)]
        place = int(random.integers(0, len(words) - 1))
        context = " ".join(words)
        answer = Answer(words[place + 1], len(" ".join(words[: place + 1])) + 1)
        examples.append(QuestionExample(f"q{index}", words[place], context, (answer,)))
    return examples


class Recorder:
    """Progress that remembers lines, titles and notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, list[Any]] = {}

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Any]:
        steps: list[Any] = [total]
        self.bars[title] = steps

        class Steps:
            def advance(self, count: int = 1, note: str = "") -> None:
                steps.append((count, note))

        yield Steps()

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("passes")


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> BertTokenizerFast:
    file = folder / "vocab.txt"
    file.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return BertTokenizerFast(vocab_file=str(file))


@pytest.fixture(scope="session")
def task() -> Any:
    return make_task("question-answering", FeatureSettings(max_length=48, doc_stride=8))


def _model(seed: int = 0) -> BertForQuestionAnswering:
    torch.manual_seed(seed)
    model = BertForQuestionAnswering(
        BertConfig(
            vocab_size=len(WORDS) + 5, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=64, type_vocab_size=2,
        )
    )  # fmt: skip
    for name, parameter in model.named_parameters():  # attention and answers that differ between inputs
        if parameter.ndim == 2:
            parameter.data.mul_(20 if "embeddings" in name else 6)
    return model.eval()


@pytest.fixture(scope="session")
def stock(folder: Path, tokenizer: Any) -> Checkpoint:
    checkpoint.save(_model(), tokenizer, folder / "stock")
    return Checkpoint(folder / "stock", "stock")


@pytest.fixture(scope="session")
def adaptive(folder: Path, tokenizer: Any) -> Checkpoint:
    settings = LengthAdaptive(keep=[1.0] * LAYERS, minimum=2, restore=True)
    checkpoint.save(make_length_adaptive(_model(), settings), tokenizer, folder / "adaptive")
    return Checkpoint(folder / "adaptive", "adaptive")


@pytest.fixture(scope="session")
def first_graph(task: Any, tokenizer: Any, folder: Path) -> Path:
    """Length-adaptive, the tokens ranked by the first one's attention alone."""
    settings = LengthAdaptive(keep=[1.0] * LAYERS, minimum=2, restore=True, significance="first")
    checkpoint.save(make_length_adaptive(_model(), settings), tokenizer, folder / "first")
    export(Checkpoint(folder / "first", "first"), task, folder / "first.onnx", opset=17, dial="optional")
    return folder / "first.onnx"


@pytest.fixture(scope="session")
def stock_graph(stock: Checkpoint, task: Any, folder: Path) -> Path:
    export(stock, task, folder / "stock.onnx", opset=17, dial="optional")
    return folder / "stock.onnx"


@pytest.fixture(scope="session")
def adaptive_graph(adaptive: Checkpoint, task: Any, folder: Path) -> Path:
    export(adaptive, task, folder / "adaptive.onnx", opset=17, dial="optional")
    return folder / "adaptive.onnx"


def make_device(**changes: Any) -> DeviceProfile:
    """A CPU profile with one thread."""
    base = DeviceProfile(
        name="toy", description="", providers=[Provider(name="CPUExecutionProvider")], threads=1,
        number_format="dynamic_int8",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def make_context(task: Any, tokenizer: Any, stock: Checkpoint, progress: Recorder) -> Callable[..., PassContext]:
    """A context over generated data; keywords replace its parts."""

    def make(**changes: Any) -> PassContext:
        splits = Splits(
            name="toy", train=make_examples(20), calibration=changes.pop("calibration", make_examples(12)),
            search=changes.pop("search", make_examples(16, seed=1)), dev=make_examples(8, seed=2), labels=(),
            multi_label=False, fingerprints={},
        )  # fmt: skip
        base: dict[str, Any] = {
            "task": task, "data": splits, "tokenizer": tokenizer, "checkpoint": stock, "device": make_device(),
            "seed": 0, "progress": progress,
        }  # fmt: skip
        return PassContext(**{**base, **changes})

    return make


def run_graph(path: Path, *, rows: int = 3, length: int = 24, seed: int = 0, **extra: Any) -> dict[str, np.ndarray]:
    """Outputs by name for random tokens; the last row is padded by a third."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    mask = np.ones((rows, length), dtype=np.int64)
    mask[-1, length - length // 3 :] = 0
    feed = {
        "input_ids": random.integers(5, 60, (rows, length)) * mask,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
        **{name: np.asarray(value, dtype=np.float32) for name, value in extra.items()},
    }
    wanted = {entry.name for entry in session.get_inputs()} | {
        entry.name for entry in session.get_overridable_initializers()
    }
    names = [entry.name for entry in session.get_outputs()]
    arrays = session.run(names, {name: value for name, value in feed.items() if name in wanted})
    return dict(zip(names, arrays, strict=True))


def node_types(path: Path) -> list[str]:
    """Operator types of a graph file, bodies of If included."""

    def walk(graph: onnx.GraphProto) -> Iterator[str]:
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from walk(attribute.g)

    return list(walk(onnx.load(path).graph))


def as_json(value: Any) -> Any:
    """The same value through JSON; fails for what a manifest cannot hold."""
    return json.loads(json.dumps(value))
