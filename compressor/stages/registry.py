"""The stages by name. Adding a method is three files (settings, stage, test) and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compressor.config.run import TASK_NAMES, TEXT_TASKS, TaskName
from compressor.errors import RequestError
from compressor.models.structure import Structure
from compressor.registry import load, look_up
from compressor.stages import own_size
from compressor.stages.own_size import RunStage, Shape

if TYPE_CHECKING:
    from compressor.data.splits import Splits

_NO_LAYERS = (
    "it has no transformer layers. Behind the distillation that makes it, only finetune, distill, prune_vocabulary and "
    "factorize_embeddings can work on it"
)
REASONS = {
    "adaptive_depth": "a model with exits: it would train the last layer alone. Put adaptive_depth behind it",
    "low_rank": "a model whose matrices are products already: put low_rank behind it",
    "shared_layers": "a model whose layers share their weights: put share_layers behind it",
    "sparse": "a model whose zeros must stay where they are: put prune_weights behind it",
    "quantizers": "a model whose matrices are trained for int8 already: put qat behind it",
    "recurrent": f"a BiLSTM: {_NO_LAYERS}",
    "convolutional": f"a CNN: {_NO_LAYERS}",
    "split_layers": "a model that keeps two texts apart below: there is not known which tokens matter, or when to stop",
    "length_adaptive": "a model that drops tokens: where texts are kept apart, nobody knows which matter",
}
"""Why a stage refuses a kind of structure."""
WITHOUT_LAYERS = ("recurrent", "convolutional")
"""Kinds with another encoder in the place of the transformer layers."""
NOT_PLAIN = ("low_rank", "shared_layers", "quantizers")
"""Kinds whose layers have no matrices of their own, or none in float32, that could be cut."""


@dataclass(frozen=True)
class StageSpec:
    """What is known of a stage without importing it.

    `settings` and `run` are "module:attribute"; the settings module imports nothing heavy.
    `version` is raised when the same settings would give another result (part of the cache key).
    `refuses`: kinds of structure that a model must not have before it, see `REASONS`.
    `needs_layers`: it works on transformer layers, so that students without them are refused too.
    `reads` names the data parts that the stage depends on: "train", "calibration", "search"; where that depends on
    its settings, they have a method `reads` that goes before.
    `changes` says what it improves: "size", "speed", "accuracy" ... `shape` lets `plan` foretell size and MACs.
    `keeps_sizes`: parts that the stage `dynabert` trained are still trained after it, see `own_size`.
    """

    name: str
    family: str
    paper: str
    summary: str
    changes: str
    settings: str
    run: str
    version: int
    reads: tuple[str, ...] = ("train",)
    tasks: tuple[TaskName, ...] = TASK_NAMES
    refuses: tuple[str, ...] = ("adaptive_depth",)
    needs_layers: bool = True
    keeps_sizes: bool = False
    shape: str | None = None  # light: (config.json before, the teacher's, settings) -> config.json after
    examine: str | None = None  # (settings, the teacher's folder, data); raises RequestError for what these rule out
    check: str | None = None  # light: (settings, task); raises RequestError for settings that the task cannot have

    def load_settings(self) -> type:
        """The settings dataclass."""
        return cast(type, load(self.settings))

    def load_shape(self) -> Shape:
        """What the stage makes of a model's `config.json`."""
        shape = cast(Shape, load(self.shape)) if self.shape else _same_shape
        return shape if self.keeps_sizes else own_size.foretold(shape)

    def check_structure(self, structure: Structure, key: str) -> None:
        """Raise `RequestError` for a model that the stage cannot work on; `key` is its name in the recipe."""
        for kind in structure.kinds():
            if kind in self.refuses or (self.needs_layers and kind in WITHOUT_LAYERS):
                raise RequestError(f"stage '{key}' cannot work on {REASONS[kind]}.")

    def check_task(self, settings: Any, task: TaskName) -> None:
        """Raise `RequestError` for settings that the task cannot have."""
        if self.check:
            cast(Callable[[Any, TaskName], object], load(self.check))(settings, task)

    def check_inputs(self, settings: Any, teacher: Path, data: Splits) -> None:
        """Raise `RequestError` for what the teacher's folder, the data or files that the settings name rule out."""
        if self.examine:
            cast(Callable[..., object], load(self.examine))(settings, teacher, data)

    def parts_read(self, settings: Any) -> tuple[str, ...]:
        """The data parts that the stage depends on with these settings."""
        by_settings: Callable[[], tuple[str, ...]] | None = getattr(settings, "reads", None)
        return by_settings() if by_settings else self.reads

    def load_run(self) -> RunStage:
        """The function that does the work (imports torch)."""
        run = cast(RunStage, load(self.run))
        return run if self.keeps_sizes else own_size.written(run)


def _same_shape(config: dict[str, Any], teacher: dict[str, Any], settings: Any) -> dict[str, Any]:
    """Of a stage that changes no shape."""
    return config


STAGES: dict[str, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec(
            name="finetune",
            family="training",
            paper="Devlin et al. 2019",
            summary="fine-tune on the task's labels",
            changes="accuracy",
            settings="compressor.stages.finetune.settings:FinetuneSettings",
            run="compressor.stages.finetune.stage:run",
            version=1,
            needs_layers=False,
        ),
        StageSpec(
            name="prune_vocabulary",
            family="embedding compression",
            paper="Zhao et al. 2019; Ganesh et al. 2021",
            summary="keep the word pieces that the texts use",
            changes="size",
            settings="compressor.stages.prune_vocabulary.settings:PruneVocabularySettings",
            run="compressor.stages.prune_vocabulary.stage:run",
            version=1,
            refuses=(),
            needs_layers=False,
            keeps_sizes=True,
            shape="compressor.stages.prune_vocabulary.shape:shape",
            examine="compressor.stages.prune_vocabulary.stage:examine",
        ),
        StageSpec(
            name="drop_layers",
            family="structured pruning",
            paper="Sajjad et al. 2020",
            summary="keep chosen encoder layers, by position or by importance",
            changes="size, speed on every runtime",
            settings="compressor.stages.drop_layers.settings:DropLayersSettings",
            run="compressor.stages.drop_layers.stage:run",
            version=2,
            reads=(),
            refuses=(),
            shape="compressor.stages.drop_layers.shape:shape",
        ),
        StageSpec(
            name="prune_weights",
            family="unstructured pruning",
            paper="Gordon et al. 2020; Sanh et al. 2020 (movement pruning)",
            summary="set single weights to zero, by size or by movement, while training",
            changes="size of the checkpoint (graphs stay dense: no speed)",
            settings="compressor.stages.prune_weights.settings:PruneWeightsSettings",
            run="compressor.stages.prune_weights.stage:run",
            version=2,
            refuses=("adaptive_depth", "quantizers"),
            shape="compressor.stages.prune_weights.shape:shape",
        ),
        StageSpec(
            name="prune_widths",
            family="structured pruning",
            paper="Michel et al. 2019; McCarley 2019; Khetan & Karnin 2020",
            summary="keep the most important attention heads, feed-forward units and hidden dimensions",
            changes="size, speed on every runtime",
            settings="compressor.stages.prune_widths.settings:PruneWidthsSettings",
            run="compressor.stages.prune_widths.stage:run",
            version=1,
            refuses=("adaptive_depth", *NOT_PLAIN),
            shape="compressor.stages.prune_widths.shape:shape",
        ),
        StageSpec(
            name="dynabert",
            family="structured pruning",
            paper="Hou et al. 2020 (DynaBERT)",
            summary="train one model to serve several widths and depths",
            changes="size, speed on every runtime (with take_size behind it)",
            settings="compressor.stages.dynabert.settings:DynabertSettings",
            run="compressor.stages.dynabert.stage:run",
            version=2,
            refuses=("adaptive_depth", "sparse", *NOT_PLAIN),
            keeps_sizes=True,
            shape="compressor.stages.dynabert.shape:shape",
        ),
        StageSpec(
            name="take_size",
            family="structured pruning",
            paper="Hou et al. 2020 (DynaBERT)",
            summary="cut one size out of a model that serves several",
            changes="size, speed on every runtime",
            settings="compressor.stages.take_size.settings:TakeSizeSettings",
            run="compressor.stages.take_size.stage:run",
            version=1,
            reads=(),
            refuses=("adaptive_depth", *NOT_PLAIN),
            shape="compressor.stages.take_size.shape:shape",
        ),
        StageSpec(
            name="distill",
            family="knowledge distillation",
            paper="Hinton 2015; Tang 2019; TinyBERT 2020; MiniLM 2020; MiniLMv2 2021",
            summary="learn from the teacher's logits, hidden states, attention or relations; also as BiLSTM or CNN",
            changes="accuracy (size and speed with a smaller student)",
            settings="compressor.stages.distill.settings:DistillSettings",
            run="compressor.stages.distill.stage:run",
            version=2,
            needs_layers=False,
            shape="compressor.stages.distill.shape:shape",
            examine="compressor.stages.distill.examine:examine",
        ),
        StageSpec(
            name="low_rank",
            family="matrix decomposition",
            paper="Noach & Goldberg 2020; FWSVD, Hsu et al. 2022; DRONE, Chen et al. 2021; SVD-LLM, Wang et al. 2024",
            summary="linear layers as products of two smaller ones, by singular values weighted by data or gradients",
            changes="size, speed on every runtime",
            settings="compressor.stages.low_rank.settings:LowRankSettings",
            run="compressor.stages.low_rank.stage:run",
            version=2,
            reads=("calibration",),
            refuses=(
                "sparse",
                "quantizers",
            ),
            shape="compressor.stages.low_rank.shape:shape",
        ),
        StageSpec(
            name="factorize_embeddings",
            family="embedding compression",
            paper="Lan et al. 2020 (ALBERT)",
            summary="word embeddings as a narrow table and one matrix that all words share",
            changes="size",
            settings="compressor.stages.factorize_embeddings.settings:FactorizeEmbeddingsSettings",
            run="compressor.stages.factorize_embeddings.stage:run",
            version=1,
            refuses=(),
            needs_layers=False,
            keeps_sizes=True,
            shape="compressor.stages.factorize_embeddings.shape:shape",
        ),
        StageSpec(
            name="share_layers",
            family="parameter sharing",
            paper="Lan et al. 2020 (ALBERT)",
            summary="groups of layers use one set of weights, stored once",
            changes="size",
            settings="compressor.stages.share_layers.settings:ShareLayersSettings",
            run="compressor.stages.share_layers.stage:run",
            version=1,
            reads=(),
            refuses=("sparse", "low_rank", "quantizers"),
            shape="compressor.stages.share_layers.shape:shape",
        ),
        StageSpec(
            name="squeeze",
            family="weight squeezing",
            paper="Chumachenko et al. 2020",
            summary="a smaller model whose weights are a learned linear map of the larger one's",
            changes="size, speed on every runtime",
            settings="compressor.stages.squeeze.settings:SqueezeSettings",
            run="compressor.stages.squeeze.stage:run",
            version=1,
            refuses=("quantizers",),
            shape="compressor.stages.squeeze.shape:shape",
        ),
        StageSpec(
            name="qat",
            family="quantization",
            paper="Jacob et al. 2018; Zafrir et al. 2019 (Q8BERT)",
            summary="fine-tune with weights and activations rounded to int8, in ranges that learn",
            changes="accuracy of the int8 model (size and speed with the pass quantize)",
            settings="compressor.stages.qat.settings:QatSettings",
            run="compressor.stages.qat.stage:run",
            version=3,
            reads=("train", "calibration"),
            shape="compressor.stages.qat.shape:shape",
        ),
        StageSpec(
            name="length_adaptive",
            family="dynamic inference",
            paper="Kim & Cho 2020 (Length-Adaptive Transformer); QuaLA-MiniLM 2022",
            summary="train for any token budget: LengthDrop, LayerDrop, sandwich rule",
            changes="speed by the length dial, on runtimes with dynamic shapes",
            settings="compressor.stages.length_adaptive.settings:LengthAdaptiveSettings",
            run="compressor.stages.length_adaptive.stage:run",
            version=4,
            refuses=("adaptive_depth", "split_layers"),
            shape="compressor.stages.length_adaptive.shape:shape",
            check="compressor.stages.length_adaptive.shape:ranking_weight",
        ),
        StageSpec(
            name="deformer",
            family="matrix decomposition",
            paper="Cao et al. 2020 (DeFormer)",
            summary="keep question and passage apart in the lower layers",
            changes="speed on every runtime, where passages are read in advance",
            settings="compressor.stages.deformer.settings:DeformerSettings",
            examine="compressor.stages.deformer.shape:examine",
            run="compressor.stages.deformer.stage:run",
            version=1,
            tasks=("question-answering", *TEXT_TASKS),
            refuses=("length_adaptive", "adaptive_depth"),
            shape="compressor.stages.deformer.shape:shape",
        ),
        StageSpec(
            name="power_bert",
            family="dynamic inference",
            paper="Goyal et al. 2020 (PoWER-BERT)",
            summary="learn how many tokens each layer keeps, and train at that",
            changes="speed by the length dial, on runtimes with dynamic shapes",
            settings="compressor.stages.power_bert.settings:PowerBertSettings",
            run="compressor.stages.power_bert.stage:run",
            version=2,
            refuses=("adaptive_depth", "split_layers"),
            shape="compressor.stages.power_bert.shape:shape",
        ),
        StageSpec(
            name="adaptive_depth",
            family="dynamic inference",
            paper="Eyzaguirre 2022 (DACT-BERT); Xin 2020 (DeeBERT); Zhou 2020 (PABEE)",
            summary="exits behind every layer; each input runs as few layers as it needs",
            changes="speed by the depth dial, on runtimes that run If",
            settings="compressor.stages.adaptive_depth.settings:AdaptiveDepthSettings",
            run="compressor.stages.adaptive_depth.stage:run",
            version=3,
            tasks=TEXT_TASKS,
            refuses=("split_layers",),
            shape="compressor.stages.adaptive_depth.shape:shape",
            check="compressor.stages.adaptive_depth.shape:check_method",
        ),
    )
}


def stage_spec(name: str, where: str = "") -> StageSpec:
    """Look a stage up by name; raises `UnknownNameError` with the nearest one."""
    return look_up("stage", name, STAGES, where)
