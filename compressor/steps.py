"""The single steps of a run, each kept in the cache: teacher, stage, export, pass, check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.cache import Cache, Entry
from compressor.data.splits import Splits
from compressor.errors import StorageError
from compressor.foretell import require_parts
from compressor.graph.context import PassContext
from compressor.graph.registry import run_pass
from compressor.keys import Keys
from compressor.models.config_file import read_config
from compressor.models.families import family_of
from compressor.models.structure import Structure
from compressor.progress import Progress
from compressor.request import PassEntry, Request, StageEntry
from compressor.stages.context import Checkpoint, Make, StageContext
from compressor.tasks.base import Feature, Task
from compressor.validation.halves import HalvesCheck
from compressor.validation.metric import Evaluation
from compressor.validation.parity import Parity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL = "model.onnx"


@dataclass(frozen=True)
class Graph:
    """An ONNX file in the cache, the checkpoint it was exported from, and what the passes found out, by key."""

    path: Path
    key: str
    checkpoint: Checkpoint
    notes: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """Metric of a graph on the held-out data, and how closely the plain export follows PyTorch."""

    evaluation: Evaluation
    parity: Parity


@dataclass
class _Reader:
    """A tokenizer and what it makes of the held-out examples."""

    tokenizer: PreTrainedTokenizerBase
    features: list[Feature] | None = None


class Steps:
    """Makes the results of one request, or finds them in the cache."""

    def __init__(
        self, request: Request, task: Task, data: Splits, teacher: Checkpoint, cache: Cache, progress: Progress
    ) -> None:
        self.request = request
        self.task = task
        self.data = data
        self.teacher = teacher
        self.cache = cache
        self.progress = progress
        self.keys = Keys(request, task.labels, data.fingerprints)
        self._readers: list[_Reader] = []
        self._by_key: dict[str, _Reader] = {}

    def tokenizer(self, checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
        """A checkpoint's tokenizer: a stage may have pruned its vocabulary."""
        return self._reader(checkpoint).tokenizer

    def features(self, checkpoint: Checkpoint) -> Sequence[Feature]:
        """Model inputs of the held-out examples, as a checkpoint's tokenizer cuts them."""
        reader = self._reader(checkpoint)
        if reader.features is None:
            reader.features = self.task.features(self.data.dev, reader.tokenizer, labelled=False)
        return reader.features

    def _reader(self, checkpoint: Checkpoint) -> _Reader:
        """One for all checkpoints of the same vocabulary."""
        if checkpoint.key not in self._by_key:
            from compressor.models.checkpoint import load_tokenizer

            tokenizer = load_tokenizer(checkpoint.path)
            vocabulary = tokenizer.get_vocab()
            known = next((one for one in self._readers if one.tokenizer.get_vocab() == vocabulary), None)
            if known is None:
                known = _Reader(tokenizer)
                self._readers.append(known)
            self._by_key[checkpoint.key] = known
        return self._by_key[checkpoint.key]

    def require_data(self, before: Sequence[StageEntry]) -> None:
        """Raise `DataError` for a stage (one of those `before` the recipe's too) or a pass that lacks data."""
        require_parts(self.request, before, self.data.name, lambda part: bool(self.data.part(part)))

    def stage(self, entry: StageEntry, source: Checkpoint) -> tuple[Checkpoint, float]:
        """A stage's checkpoint, and the seconds that it took when it was made."""

        def make(output: Path, work: Path) -> None:
            context = StageContext(
                task=self.task,
                data=self.data,
                teacher=self.teacher,
                device=self.request.device,
                seed=self.request.seed,
                output=output,
                work=work,
                progress=self.progress,
                keep=self._keep,
            )
            entry.spec.load_run()(source, entry.settings, context)

        key = self.keys.stage(entry, source.key, self.teacher.key)
        made = self.cache.get_or_make(key, self._title(f"stage {entry.key}"), make)
        return Checkpoint(made.path, made.key), made.seconds

    def _keep(self, kind: str, parts: Mapping[str, Any], source: Checkpoint, title: str, make: Make) -> Path:
        """What a stage found out of a checkpoint and other stages may need too, kept like a step."""
        key = self.keys.kept(kind, parts, source.path)
        return self.cache.get_or_make(key, self._title(title), make).path

    def export(self, checkpoint: Checkpoint) -> Graph:
        """The plain float32 graph of a checkpoint."""
        from compressor.graph.export import export

        def make(output: Path, work: Path) -> None:
            export(checkpoint, self.task, output / MODEL, opset=self.request.opset, dial=self.request.dial)

        made = self.cache.get_or_make(self.keys.export(checkpoint.key), self._title("export"), make)
        return Graph(made.path / MODEL, made.key, checkpoint, {})

    def graph_pass(self, entry: PassEntry, source: Graph) -> Graph:
        """The graph that a pass makes of another one."""

        def make(output: Path, work: Path) -> dict[str, Any]:
            context = PassContext(
                task=self.task,
                data=self.data,
                tokenizer=self.tokenizer(source.checkpoint),
                checkpoint=source.checkpoint,
                device=self.request.device,
                seed=self.request.seed,
                progress=self.progress,
            )
            return run_pass(entry.spec, source.path, output / MODEL, entry.settings, context).notes

        key = self.keys.graph_pass(entry, source.key, source.checkpoint.key)
        made = self.cache.get_or_make(key, self._title(f"pass {entry.key}"), make)
        return Graph(made.path / MODEL, made.key, source.checkpoint, {**source.notes, entry.key: made.notes})

    def fused(self, plain: Graph) -> Graph:
        """A stage's graph as the recipe fuses it; the plain one if its passes do not begin with `fuse`."""
        first = self.request.passes[:1]
        return self.graph_pass(first[0], plain) if first and first[0].spec.name == "fuse" else plain

    def check(self, graph: Graph, plain: Graph, keep: Sequence[float] | None) -> Check:
        """Metric of `graph` at `keep` (None: its default), and parity of the `plain` export behind it."""
        from compressor.validation.metric import evaluate
        from compressor.validation.parity import compare

        def measure(output: Path, work: Path) -> dict[str, Any]:
            rows = self.features(graph.checkpoint)
            with self.progress.bar("evaluate", len(rows)) as bar:
                done = 0

                def on_rows(count: int) -> None:
                    nonlocal done
                    bar.advance(count - done)
                    done = count

                found = evaluate(
                    graph.path,
                    self.task,
                    self.data.dev,
                    self.tokenizer(graph.checkpoint),
                    self.request.device,
                    keep,
                    features=rows,
                    on_rows=on_rows,
                )
            np.save(output / "scores.npy", found.example_scores)
            _write_json(output / "predictions.json", found.predictions)
            return {"metrics": found.metrics, "windows": found.windows, "blocks_run": found.blocks_run}

        def follow(output: Path, work: Path) -> dict[str, Any]:
            tolerance = self.request.export.parity_tolerance
            tokenizer = self.tokenizer(plain.checkpoint)
            found = compare(plain.checkpoint, plain.path, self.task, tokenizer, self.data.dev[:64], tolerance=tolerance)
            return asdict(found)

        evaluation = self.cache.get_or_make(
            self.keys.evaluation(graph.key, graph.checkpoint.key, keep), self._title("evaluation"), measure
        )
        parity = self.cache.get_or_make(self.keys.parity(plain.key), self._title("parity"), follow)
        return Check(_evaluation(evaluation), Parity(**parity.notes))

    def halves(self, graph: Graph, *, layers: int) -> tuple[Path, HalvesCheck]:
        """The folder with both halves of a graph that keeps texts apart in so many layers, and how they follow it.

        A number format whose ranges come from what is run at once leaves a difference; the halves of the plain export
        must compute what that computes (without the rounding of activations, which tells apart what differs in a bit).
        """
        from compressor.graph.halves import cut
        from compressor.graph.quantized import write_unrounded
        from compressor.validation.halves import compare_halves, require_same

        plain = self.export(graph.checkpoint)
        config = read_config(graph.checkpoint.path)
        width = family_of(config).hidden_size(config)

        def make(output: Path, work: Path) -> dict[str, Any]:
            def compared(source: Path, folder: Path) -> HalvesCheck:
                halves = cut(source, folder, layers=layers, width=width)
                tokenizer = self.tokenizer(graph.checkpoint)
                return compare_halves(source, halves, self.task, tokenizer, self.data.dev[:64])

            exact = plain.path
            if Structure.from_config(config).quantizers:
                exact = work / MODEL
                write_unrounded(plain.path, exact)
            require_same(compared(exact, work), self.request.export.parity_tolerance)
            return asdict(compared(graph.path, output))

        made = self.cache.get_or_make(self.keys.halves(graph.key, plain.key), self._title("halves"), make)
        return made.path, HalvesCheck(**made.notes)

    def keep_of(self, graph: Graph) -> list[float] | None:
        """The length configuration that a graph runs at by itself, or must be given; None: it has no dial."""
        from compressor.graph import dial

        if dial.layers(graph.path) is None:
            return None
        default = dial.default(graph.path)
        if default is not None:
            return default
        chosen = [notes["keep"] for notes in graph.notes.values() if "keep" in notes]
        structure = Structure.from_config(read_config(graph.checkpoint.path))
        trained = structure.length_adaptive.keep if structure.length_adaptive else None
        return list(chosen[-1]) if chosen else trained

    def _title(self, what: str) -> str:
        return f"{what} of {self.request.place}"


def _evaluation(entry: Entry) -> Evaluation:
    """An evaluation as it was kept; fresh ones are read back too, so that both compare equal."""
    predictions = json.loads((entry.path / "predictions.json").read_text(encoding="utf-8"))
    return Evaluation(
        metrics=entry.notes["metrics"],
        predictions=predictions,
        example_scores=np.load(entry.path / "scores.npy"),
        windows=entry.notes["windows"],
        blocks_run=entry.notes.get("blocks_run"),
    )


def _write_json(path: Path, value: Any) -> None:
    try:
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    except TypeError as error:
        raise StorageError(f"predictions cannot be kept as JSON: {error}") from error
