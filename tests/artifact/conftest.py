"""Artifacts around hand-made graphs: logits are looked up by token, so that answers are known beforehand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compressor.artifact import config as artifact_config
from compressor.artifact.dial_table import make_dial
from compressor.artifact.manifest import Manifest, Measurement, StageRow
from compressor.artifact.write import write_artifact
from compressor.config.run import TASK_NAMES, TEXT_TASKS, FeatureSettings
from compressor.report.page import render_run
from compressor.tasks import Task, make_task

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "wrote", "it", "?", ".", ",", "was", "written", "by", "ada", "in",
    "london", "film", "fine", "bad", "love", "##lace", "a", "lived", "the", "##s", "paris", "lin",
]  # fmt: skip
LABELS = {"text-classification": ("bad", "good", "long"), "token-classification": ("O", "B-PER", "I-PER", "B-LOC")}
LAYERS = 3
ROWS = [
    {"keep": [1.0, 1.0, 1.0], "macs": 1000, "metric": 90.0, "latency_ms": 4.0},
    {"keep": [0.8, 0.6, 0.5], "macs": 600, "metric": 89.5, "latency_ms": 2.5},
    {"keep": [0.7, 0.6, 0.5], "macs": 598, "metric": 89.0, "latency_ms": 2.4},
    {"keep": [0.5, 0.3, 0.2], "macs": 250, "metric": 85.0, "latency_ms": 1.0},
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def table_of(task: Task) -> np.ndarray:
    """Logits by token [tokens, outputs]: "ada" is the answer, "fine" good and "bad" bad, ada and london are names."""
    place = {word: index for index, word in enumerate(WORDS)}
    width = {"question-answering": 2, "text-regression": 1}.get(task.name) or len(task.labels)
    table = np.random.default_rng(0).normal(0, 0.1, (len(WORDS), width)).astype(np.float32)
    if task.name == "question-answering":
        table[place["ada"]] += 8
    elif task.name == "text-classification":
        table[place["fine"], 1] += 8
        table[place["bad"], 0] += 8
    elif task.name == "text-regression":
        table[place["fine"]] += 2
        table[place["bad"]] -= 2
    else:
        table[:, 0] += 2
        table[place["ada"], 1] += 8
        table[place["love"], 2] += 8
        table[place["london"], 3] += 8
        table[place["paris"], 3] += 8
    return table


def make_graph(path: Path, task: Task, *, dial: str | None = None, axis: str = "sequence_length") -> Path:
    """Look the table up; `keep` only enters as zero times its sum, so that answers do not depend on it."""
    shape = ["batch_size", axis]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    initializers = [numpy_helper.from_array(table_of(task), "table"), numpy_helper.from_array(np.float32(0), "zero")]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["found"])]
    last = "found"
    if dial:
        if dial != "fixed":
            inputs.append(helper.make_tensor_value_info("keep", TensorProto.FLOAT, [LAYERS]))
        if dial != "required":
            initializers.append(numpy_helper.from_array(np.asarray(ROWS[1]["keep"], np.float32), "keep"))
        nodes += [
            helper.make_node("ReduceSum", ["keep"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["found", "nothing"], ["dialled"]),
        ]
        last = "dialled"
    if task.name == "question-answering":
        initializers.append(numpy_helper.from_array(np.asarray([1, 1], np.int64), "halves"))
        initializers.append(numpy_helper.from_array(np.asarray([2], np.int64), "axis"))
        nodes += [
            helper.make_node("Split", [last, "halves"], ["start", "end"], axis=2),
            helper.make_node("Squeeze", ["start", "axis"], ["start_logits"]),
            helper.make_node("Squeeze", ["end", "axis"], ["end_logits"]),
        ]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in task.output_names]
    elif task.name in TEXT_TASKS:
        initializers.append(numpy_helper.from_array(np.asarray([1], np.int64), "axis"))
        initializers.append(numpy_helper.from_array(np.asarray([2], np.int64), "last"))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", [last, "column"], ["real"]),
            helper.make_node("ReduceSum", ["real", "axis"], ["logits"], keepdims=0),
        ]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", len(task.labels) or 1])]
    else:
        nodes.append(helper.make_node("Identity", [last], ["logits"]))
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, len(task.labels)])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@dataclass
class Parts:
    """What an artifact is made of."""

    task: Task
    model: Path
    config: dict
    tokenizer: Path
    manifest: Manifest

    def write(self, target: Path, **changes) -> Manifest:
        values = {"model": self.model, "config": self.config, "tokenizer": self.tokenizer, "manifest": self.manifest}
        return write_artifact(target, page=render_run, **{**values, **changes})


def make_parts(folder: Path, name: str, *, dial: str | None = None, multi_label: bool = False) -> Parts:
    settings = FeatureSettings(max_length=32, doc_stride=6, max_answer_length=4)
    task = make_task(name, settings, LABELS.get(name, ()), multi_label=multi_label)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    model = make_graph(folder / "graph.onnx", task, dial=dial)
    config = artifact_config.stock_config({"model_type": "bert", "vocab_size": len(WORDS)}, task)
    metric = task.metric_names[0]
    manifest = Manifest(
        task=task.name,
        labels=list(task.labels),
        multi_label=multi_label,
        request={"recipe": {"name": "tiny", "paper": "A Paper 2020"}, "data": {}, "features": {}, "gates": {},
                 "measure": {}, "export": {"parity_tolerance": 1e-3}},
        request_key="k" * 8,
        device={"name": "host", "description": "this machine", "number_format": "float32", "why": "it is | simple"},
        teacher={"name": "/home/somebody/models/my-teacher", "metrics": {metric: 90.0}},
        data={"name": "demo", "fingerprints": {"dev": "0" * 64}},
        seed=7,
        preprocessing=artifact_config.preprocessing_settings(task, tokenizer),
        decoding=artifact_config.decoding_settings(task),
        metrics={metric: 89.5},
        host={"cpu": "a processor"},
        agreement={"same": 0.97, "right_to_wrong": 3, "wrong_to_right": 1, "examples": 100,
                   "interval": {"difference": -0.5, "low": -1.2, "high": 0.1, "level": 0.95, "resamples": 2000}},
        gates=[{"name": "max_latency_ms", "limit": 5.0, "value": 2.5, "unit": "ms p50", "judged": False,
                "passed": None, "note": "measured on this machine"}],
        measurements=[Measurement(name="latency p50", value=2.5, unit="ms", how="30 runs",
                                  where="this machine (a cpu), not jetson", on_device=False),
                      Measurement(name="energy", value=None, unit="mJ", how="none", where="-", on_device=False)],
        stages=[StageRow(name="teacher", metric=90.0, size_bytes=4_000_000, macs=2000, p50_ms=9.0),
                StageRow(name="artifact", metric=89.5, size_bytes=1_000_000, macs=600, p50_ms=2.5, seconds=3.0)],
        dial=make_dial(kind=dial, default=ROWS[1]["keep"], minimum=2, full_macs=1000, rows=ROWS, metric="metric",
                       measured_on="this machine") if dial else None,
        versions={"onnxruntime": "1.0"},
    )  # fmt: skip
    return Parts(task, model, config, folder / "tokenizer", manifest)


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> dict[str, Parts]:
    """One set for each task; question answering has an optional dial."""
    made = {}
    for key, options in {
        "question-answering": {"dial": "optional"},
        "text-classification": {},
        "multi-label": {"multi_label": True},
        "text-regression": {},
        "token-classification": {},
        "required": {"dial": "required"},
        "fixed": {"dial": "fixed"},
    }.items():
        name = {"multi-label": "text-classification"}.get(key, key if key in TASK_NAMES else "question-answering")
        made[key] = make_parts(tmp_path_factory.mktemp(key), name, **options)
    return made


@pytest.fixture(scope="session")
def artifacts(parts, tmp_path_factory) -> dict[str, Path]:
    """A written artifact for each of `parts`; not to be changed."""
    folder = tmp_path_factory.mktemp("artifacts")
    for key, entry in parts.items():
        entry.write(folder / key)
    return {key: folder / key for key in parts}
