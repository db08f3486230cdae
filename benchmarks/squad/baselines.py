"""Graphs that are only compared with: BERT-base's shape, ONNX Runtime's own paths, NNCF int8 for OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerBase

from compressor.data.splits import Splits
from compressor.graph.export import export
from compressor.models.checkpoint import load_tokenizer, save
from compressor.stages.context import Checkpoint
from compressor.tasks.base import Task
from compressor.tasks.examples import Example


def make_baselines(teacher: Path, folder: Path, task: Task, data: Splits) -> None:
    """Write every baseline graph that is not there yet."""
    tokenizer = load_tokenizer(teacher)
    base = folder.parent / "checkpoints" / "bert-base"
    if not (folder / "bert-base.onnx").exists():
        base.mkdir(parents=True, exist_ok=True)
        save(BertForQuestionAnswering(BertConfig()), tokenizer, base)
        export(Checkpoint(base, "bert-base"), task, folder / "bert-base.onnx", opset=17, dial="optional")
    plain = folder / "teacher.onnx"
    if not (folder / "teacher-plain-int8.onnx").exists():
        from onnxruntime.quantization import quantize_dynamic

        options = {"DefaultTensorType": 1}
        quantize_dynamic(plain, folder / "teacher-plain-int8.onnx", per_channel=True, extra_options=options)
    if not (folder / "teacher-ort-fused.onnx").exists():
        from onnxruntime.transformers.fusion_options import FusionOptions
        from onnxruntime.transformers.optimizer import optimize_model

        options = FusionOptions("bert")
        options.use_raw_attention_mask(True)
        fused = optimize_model(str(plain), "bert", 12, 384, optimization_options=options, opt_level=0)
        fused.save_model_to_file(str(folder / "teacher-ort-fused.onnx"))
    if not (folder / "teacher-nncf.onnx").exists():
        _nncf_static(plain, folder / "teacher-nncf.onnx", task, data, tokenizer)


def _nncf_static(source: Path, target: Path, task: Task, data: Splits, tokenizer: PreTrainedTokenizerBase) -> None:
    os.environ["NNCF_TELEMETRY"] = "0"
    import nncf
    import onnx

    features = task.features(data.calibration, tokenizer, labelled=False)[:128]
    feeds = [{name: np.asarray([row]) for name, row in feature.inputs.items()} for feature in features]
    model = nncf.quantize(onnx.load(source), nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER)
    onnx.save(model, target)


def evaluate_openvino(
    row: Row, task: Task, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, float], list[Any], np.ndarray]:
    """Metrics, predictions and example scores of a row on OpenVINO, one window at a time."""
    import openvino as ov

    compiled = ov.Core().compile_model(str(row.model), "CPU", {"INFERENCE_PRECISION_HINT": row.precision})
    features = task.features(examples, tokenizer, labelled=False)
    outputs = []
    for feature in features:
        found = compiled({name: np.asarray([values]) for name, values in feature.inputs.items()})
        outputs.append({name: np.asarray(found[name][0], np.float32) for name in task.output_names})
    predictions = task.decode(examples, features, outputs)
    return task.score(examples, predictions), predictions, task.example_scores(examples, predictions)
