"""What one run is asked to do: recipe, device, data, teacher, gates and the run's own switches."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from compressor.config.schema import (
    Column,
    Count,
    FileName,
    NonNegative,
    Positive,
    Ratio,
    Seed,
    Whole,
    settings,
)

TaskName = Literal["question-answering", "text-classification", "text-regression", "token-classification"]
TASK_NAMES: tuple[TaskName, ...] = (
    "question-answering",
    "text-classification",
    "text-regression",
    "token-classification",
)
TEXT_TASKS: tuple[TaskName, ...] = ("text-classification", "text-regression")
"""Tasks with one answer a text, or a pair of texts, read from its first token."""
LABEL_TASKS: tuple[TaskName, ...] = ("text-classification", "token-classification")
"""Tasks whose outputs are named labels."""


@settings
class DataSettings:
    """Where examples come from (`conf/data/*.yaml`)."""

    source: Literal["demo", "files", "hub"] = "demo"
    name: str | None = None  # hub: data set name
    config: str | None = None  # hub: configuration of the data set
    train: str | None = None  # files: path; hub: split name; None: no training data
    dev: str | None = None  # files: path; hub: split name, None means validation
    format: Literal["auto", "squad", "csv", "tsv", "jsonl", "conll"] = "auto"
    text_column: Column | None = None  # None: guessed from the header; a number counts columns from 0
    pair_column: Column | None = None
    label_column: Column | None = None
    labels: str | None = None  # path of a file with one label a line (also turns numbers into names)
    header: bool | None = None  # CSV/TSV: is the first row a header; None: guessed
    label_separator: Annotated[str, Field(min_length=1)] | None = None  # given: multi-label, several in one field
    max_train: Count | None = None
    max_dev: Count | None = None
    calibration: Count = 128  # examples taken from the training part for calibration
    search: Count = 300  # examples held out of training for `search_lengths`
    demo_train: Count = 1500  # demo only: generated examples
    demo_dev: Count = 300


@settings
class TeacherSettings:
    """The model to compress (`conf/teacher/*.yaml`)."""

    source: Literal["demo", "path"] = "demo"
    path: str | None = None  # local directory or hub name


@settings
class FeatureSettings:
    """How examples become model inputs and predictions; None means the task's own default."""

    max_length: Count | None = None  # tokens; question answering 384, others 128, or what the model reads at most
    doc_stride: Count | None = None  # tokens of overlap between windows (question answering), 128
    n_best: Count = 20  # start and end candidates each (question answering)
    max_answer_length: Count = 30  # word pieces (question answering)
    threshold: Ratio = 0.5  # multi-label: a label is on from this probability

    def longest(self, task: str) -> int:
        """Tokens of the longest input of a task."""
        return self.max_length or (384 if task == "question-answering" else 128)


@settings
class ExportSettings:
    """How the ONNX graph is made; None and auto mean: as the device profile says."""

    opset: Count | None = None  # operator set, at most the device's max_opset
    dial: Literal["auto", "optional", "required", "fixed"] = "auto"
    parity_tolerance: Positive = 1e-3  # largest |logit difference| between PyTorch and the fp32 graph


@settings
class GateSettings:
    """Limits that the artifact must meet; None switches one off."""

    max_metric_drop: float | None = 1.0  # points of the primary metric below the teacher
    min_metric: NonNegative | None = None  # points
    max_latency_ms: Positive | None = None  # p50
    min_speedup: Positive | None = None  # against the teacher's fp32 export
    max_memory_mb: Positive | None = None  # peak resident memory
    min_device_agreement: Positive | None = 95.0  # % of examples that the board answers as this machine does
    max_size_mb: Positive | None = None  # model.onnx
    require_device: bool = False  # true: speed gates must be judged on the device itself (exit 4 if not)


@settings
class MeasureSettings:
    """How speed is measured."""

    length: Count | None = None  # real tokens of the measured input; None: the features' max_length
    batch_size: Count = 1
    warmup: Whole = 5  # runs before the clock starts
    runs: Count = 30  # timed runs per round
    rounds: Count = 3  # rounds, rows taken in turn
    device_rows: Whole | None = None  # examples answered on the device too; None: 64 with device.host, 32 emulated
    meter_log: str | None = None  # CSV that a meter in the device's supply is writing; energy is read from it


@settings
class RecipeSettings:
    """One file of `recipes/`: stages, export and passes in order, not yet resolved against the registries."""

    name: FileName
    description: str = ""
    paper: str = ""
    task: TaskName = "question-answering"
    tasks: list[TaskName] = dataclasses.field(default_factory=lambda: list(TASK_NAMES))
    features: FeatureSettings = dataclasses.field(default_factory=FeatureSettings)
    stages: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    export: ExportSettings = dataclasses.field(default_factory=ExportSettings)
    passes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    gates: GateSettings = dataclasses.field(default_factory=GateSettings)


@settings
class RunSettings:
    """The run's own switches, and limits and settings laid over those of the recipe (`conf/config.yaml`)."""

    task: TaskName | None = None  # None: the recipe's default
    seed: Seed = 42
    overwrite: bool = False  # replace an artifact of another request
    export_each_stage: bool = True  # export, check and measure the result of every stage
    output: str = "exports"  # folder of artifacts, refusals and the cache
    features: dict[str, Any] = dataclasses.field(default_factory=dict)  # FeatureSettings, over the recipe's
    export: dict[str, Any] = dataclasses.field(default_factory=dict)  # ExportSettings, over the recipe's
    gates: dict[str, Any] = dataclasses.field(default_factory=dict)  # GateSettings, over the recipe's
    measure: MeasureSettings = dataclasses.field(default_factory=MeasureSettings)
