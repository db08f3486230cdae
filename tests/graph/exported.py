"""Tiny checkpoints of every family, stock and length-adaptive, and their graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import torch

from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import LABEL_TASKS, TEXT_TASKS, FeatureSettings
from compressor.graph.context import PassContext, PassResult
from compressor.graph.export import export
from compressor.graph.passes.fuse.fuse import run as run_fuse
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.models import checkpoint as checkpoints
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.tasks import Task, make_task

FAMILIES = ("bert", "roberta", "distilbert", "electra")
TASKS = ("question-answering", "text-classification", "token-classification")
LAYERS, HIDDEN, HEADS, VOCABULARY, LONGEST = 3, 32, 4, 90, 48
LABELS = ("a", "b", "c")


class NoTokenizer:
    """Stands in for a tokenizer where only weights and config matter."""

    def save_pretrained(self, folder: str) -> None:
        """Write nothing."""


def task_of(name: str) -> Task:
    """A task with three labels where it has labels."""
    return make_task(name, FeatureSettings(), LABELS if name in LABEL_TASKS else ())


def config_of(family: str) -> dict[str, Any]:
    """A tiny `config.json` mapping."""
    if family == "distilbert":
        return {
            "model_type": family, "vocab_size": VOCABULARY, "dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS,
            "hidden_dim": 48, "max_position_embeddings": LONGEST, "pad_token_id": 0,
        }  # fmt: skip
    config = {
        "model_type": family, "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": 48, "max_position_embeddings": LONGEST,
        "type_vocab_size": 1 if family == "roberta" else 2, "pad_token_id": 0,
    }  # fmt: skip
    if family == "electra":
        config["embedding_size"] = 16
    if family == "roberta":
        config["max_position_embeddings"] = LONGEST + 2
    return config


def save_model(folder: Path, family: str, task: Task, adaptive: LengthAdaptive | None) -> Path:
    """A checkpoint with random weights, large enough that attention is not even."""
    model = checkpoints.build(config_of(family), task, seed=3)
    for parameter in model.parameters():
        generator = torch.Generator().manual_seed(parameter.numel())
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    if adaptive is not None:
        model = make_length_adaptive(model, adaptive)
    checkpoints.save(model, NoTokenizer(), folder)  # type: ignore[arg-type]
    return folder


def adaptive_settings(task: str, **changes: Any) -> LengthAdaptive:
    """What the stage `length_adaptive` would write for a task."""
    restore = task not in TEXT_TASKS
    values = {"keep": [1.0] * LAYERS, "restore": restore, "protect_first": not restore, **changes}
    return LengthAdaptive(**values)


def export_model(folder: Path, task: Task, dial: str = "optional", opset: int = 17) -> Path:
    """The graph of a checkpoint."""
    target = folder / "exported.onnx"
    export(Checkpoint(folder, "key"), task, target, opset=opset, dial=dial)
    return target


def device(provider: str = "CPUExecutionProvider") -> DeviceProfile:
    """A device whose first provider is the given one."""
    return DeviceProfile(name="here", description="a test", providers=[Provider(name=provider)])


def fuse(
    source: Path,
    folder: Path,
    layout: str = "auto",
    provider: str = "CPUExecutionProvider",
    task: Task | None = None,
    profile: DeviceProfile | None = None,
) -> PassResult:
    """Run the pass on an exported graph of the checkpoint `folder`."""
    context = PassContext(
        task=task or task_of("question-answering"),
        data=SimpleNamespace(),  # type: ignore[arg-type]
        tokenizer=SimpleNamespace(),  # type: ignore[arg-type]
        checkpoint=Checkpoint(folder, "key"),
        device=profile or device(provider),
        seed=0,
        progress=Silent(),
    )
    return run_fuse(source, source.with_name(f"fused-{layout}.onnx"), FuseSettings(layout=layout), context)  # type: ignore[arg-type]


def masks() -> dict[str, np.ndarray]:
    """Attention masks by what is special about them, int64 [batch, length]."""
    right, left, holes = np.ones((3, 12), np.int64), np.ones((2, 11), np.int64), np.ones((2, 13), np.int64)
    right[0, 9:], right[1, 4:] = 0, 0
    left[0, :5] = 0
    holes[0, 3:6], holes[1, 7], holes[1, 0] = 0, 0, 0
    nothing = np.ones((2, 9), np.int64)
    nothing[1] = 0
    return {
        "one token": np.ones((1, 1), np.int64),
        "one token, two texts": np.ones((2, 1), np.int64),
        "full": np.ones((2, 17), np.int64),
        "longest": np.ones((1, LONGEST), np.int64),
        "padding on the right": right,
        "padding on the left": left,
        "holes": holes,
        "all shorter than the batch": np.pad(np.ones((2, 6), np.int64), ((0, 0), (0, 4))),
        "a text of padding alone": nothing,
    }


def inputs_of(mask: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tokens under a mask; the padding token where it is 0."""
    random = np.random.default_rng(seed)
    ids = np.where(mask == 1, random.integers(5, VOCABULARY, mask.shape), 0)
    kinds = (np.arange(mask.shape[1])[None] > mask.shape[1] // 2).astype(np.int64) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}


@lru_cache(maxsize=32)
def session_of(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session of a graph, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(path: Path, inputs: Mapping[str, np.ndarray], keep: Sequence[float] | None = None) -> list[np.ndarray]:
    """The outputs of a graph, which gets those inputs that it has."""
    session = session_of(path)
    names = {value.name for value in session.get_inputs()}
    feeds = {name: value for name, value in inputs.items() if name in names}
    if keep is not None:
        feeds["keep"] = np.asarray(keep, np.float32)
    return list(session.run(None, feeds))


def run_torch(
    model: Any, task: Task, inputs: Mapping[str, np.ndarray], keep: Sequence[float] | None = None
) -> list[np.ndarray]:
    """The outputs of the model in PyTorch."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    config = model.config.to_dict()
    if config.get("type_vocab_size", 0) < 2:
        tensors.pop("token_type_ids")
    if keep is not None:
        tensors["keep"] = torch.tensor(keep, dtype=torch.float32)
    with torch.no_grad():
        outputs = model(**tensors)
    return [outputs[name].numpy() for name in task.output_names]


def difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The largest difference of two lists of outputs; shapes must agree and all numbers be finite."""
    assert [value.shape for value in first] == [value.shape for value in second]
    assert all(np.isfinite(value).all() for value in first)
    return max(float(np.abs(one - two).max()) for one, two in zip(first, second, strict=True))
