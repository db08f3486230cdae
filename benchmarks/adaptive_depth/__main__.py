"""Early exits on real input: `python benchmarks/adaptive_depth all --encoder DIR --data DIR` writes its page.

For each data set (`--sets`): `teacher` fine-tunes the encoder, `plain` makes students of 1 to 5 layers, `dact`,
`dact_few`, `dact_paper`, `deebert` and `pabee` train exits on the teacher, `graphs` exports, fuses and quantizes,
`quality` answers the whole test part text by text at every setting, `choose` lets `search_depth` choose among them by
texts held out of training, `speed` times a sample of it (rows in turn,
processes of their own), `full` times runs of all layers, `table` writes the page. Each part is skipped where its result
is there; `--work` keeps everything between calls.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # what benchmarks share

import onnx_run
from rows import FEW, FEW_EXITS, FEW_TAU, LAYERS, PAPER, PAPER_TAU, SHAPES, TAUS, Row, dact_graph, rows
from table import write_page
from text_bench import TextBench
from text_sets import BATCH_SIZES, DATASETS
from workbench import SEED

from compressor.graph.export import export
from compressor.models.checkpoint import load_tokenizer
from compressor.stages.context import Checkpoint

HERE = Path(__file__).parent
FULL_PASSES = 200
TEACHER_RATES = {False: 1e-4, True: 3e-4}
"""By whether a text has several labels: the mean over 28, most of them 0, has small gradients."""
MAX_DROP = 1.0
"""Points below its own full run that `choose` allows."""
EXIT_EPOCHS = {"banking77": 4.0, "clinc150": 2.0, "goemotions": 1.0}
"""Of the training with exits; BANKING77 has a third fewer texts, GoEmotions more and smaller batches."""


class Bench(TextBench):
    """One data set with its fine-tuned teacher."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        super().__init__(name, options)
        self.common = {"batch_size": BATCH_SIZES[name], "save_every_minutes": 5.0}

    def checkpoint(self, key: str) -> Checkpoint:
        """A checkpoint that an earlier part has made."""
        return Checkpoint(self.work / "checkpoints" / key, key)

    def graph(self, key: str) -> Path:
        """The int8 graph of a checkpoint."""
        return self.work / "graphs" / f"{key}-int8.onnx"


def teacher(bench: Bench) -> None:
    """The encoder with a head, fine-tuned."""
    epochs = bench.options.epochs or (4.0 if bench.task.multi_label else 6.0)
    rate = TEACHER_RATES[bench.task.multi_label]
    bench.stage("finetune", "teacher", bench.teacher, epochs=epochs, learning_rate=rate, **bench.common)


def plain(bench: Bench) -> None:
    """The first 1 to 5 layers of the teacher, fine-tuned again."""
    for count in range(1, LAYERS):
        kept = bench.stage("drop_layers", f"kept-{count}", bench.checkpoint("teacher"), keep="first", layers=count)
        epochs = bench.options.epochs or (1.5 if bench.task.multi_label else 3.0)
        rate = TEACHER_RATES[bench.task.multi_label]
        bench.stage("finetune", f"plain-{count}", kept, epochs=epochs, learning_rate=rate, **bench.common)


def exits(bench: Bench, key: str, **values: Any) -> None:
    """Exits of one kind on the teacher."""
    epochs = bench.options.epochs or EXIT_EPOCHS[bench.name]
    bench.stage("adaptive_depth", key, bench.checkpoint("teacher"), epochs=epochs, **values, **bench.common)


def dact(bench: Bench) -> None:
    """DACT at every price of a layer."""
    for tau in TAUS:
        exits(bench, dact_graph(tau), method="dact", tau=tau, learning_rate=1e-5)


def dact_few(bench: Bench) -> None:
    """DACT with two exits, which cost a full run less."""
    exits(bench, FEW, method="dact", tau=FEW_TAU, exits=FEW_EXITS, learning_rate=1e-5)


def dact_paper(bench: Bench) -> None:
    """DACT as in the paper: exits read the first token, halting units learn from the first update on."""
    exits(
        bench,
        PAPER,
        method="dact",
        tau=PAPER_TAU,
        summary="first",
        head="linear",
        exits_first=0.0,
        exit_loss=0.0,
        learning_rate=1e-4,
    )


def deebert(bench: Bench) -> None:
    """DeeBERT's exits on the frozen teacher."""
    exits(bench, "deebert", method="deebert")


def pabee(bench: Bench) -> None:
    """PABEE's exits."""
    exits(bench, "pabee", method="pabee", learning_rate=1e-4)


def graphs(bench: Bench) -> None:
    """Every checkpoint of the table as an int8 graph."""
    for key in dict.fromkeys(row.graph for row in rows(bench.task.multi_label)):
        checkpoint = bench.checkpoint(key)
        if not (checkpoint.path / "config.json").exists():
            continue
        source, fused = (bench.work / "graphs" / f"{key}{suffix}.onnx" for suffix in ("", "-fused"))
        if not source.exists():
            export(checkpoint, bench.task, source, opset=17, dial="optional")
        bench.graph_pass("fuse", source, fused, checkpoint)
        bench.graph_pass("quantize", fused, bench.graph(key), checkpoint)


def _run(bench: Bench, listed: Sequence[Row], batches: Sequence[list[list[int]]], passes: int) -> dict[str, Any]:
    """Rows of one graph in a process of their own: answers and times by the row's name."""
    settings = [row.setting for row in listed]
    found = onnx_run.run(bench.graph(listed[0].graph), batches, settings=settings, passes=passes)
    return {row.name: found[str(row.setting)] for row in listed}


def _groups(bench: Bench) -> list[list[Row]]:
    """Rows whose graph is there, by graph."""
    groups: dict[str, list[Row]] = {}
    for row in rows(bench.task.multi_label):
        if bench.graph(row.graph).exists():
            groups.setdefault(row.graph, []).append(row)
    return list(groups.values())


def quality(bench: Bench) -> None:
    """Metric, scores of the texts, and layers run, for every row."""
    features = bench.task.features(bench.data.dev, load_tokenizer(bench.teacher.path), labelled=False)
    texts = [[feature.inputs["input_ids"]] for feature in features]
    for listed in _groups(bench):
        targets = {row: bench.work / "quality" / f"{row.name}.json" for row in listed}
        wanted = [row for row, target in targets.items() if not target.exists()]
        if not wanted:
            continue
        bench.progress.line(f"{bench.name}: scoring {listed[0].graph}")
        found = _run(bench, wanted, texts, passes=0)
        for row in wanted:
            outputs = [{"logits": np.asarray(logits, np.float32)} for logits in found[row.name]["logits"]]
            predictions = bench.task.decode(bench.data.dev, features, outputs)
            result = {
                "metrics": bench.task.score(bench.data.dev, predictions),
                "scores": bench.task.example_scores(bench.data.dev, predictions).tolist(),
                "predictions": predictions,
                "blocks": found[row.name]["blocks"],
            }
            targets[row].write_text(json.dumps(result))


def choose(bench: Bench) -> None:
    """The setting that `search_depth` takes for every graph with exits, by the texts held out of training."""
    for listed in _groups(bench):
        candidates = [row.setting for row in listed if row.setting is not None and not row.runs_all]
        if not candidates:
            continue
        source = bench.graph(listed[0].graph)
        target = source.with_name(f"{listed[0].graph}-chosen.onnx")
        values = {"max_drop": MAX_DROP, "candidates": candidates}
        bench.graph_pass("search_depth", source, target, bench.checkpoint(listed[0].graph), **values)


def speed(bench: Bench) -> None:
    """Times of a sample of the test part, graphs in turn for several rounds; raw times are kept."""
    features = bench.task.features(bench.data.dev, load_tokenizer(bench.teacher.path), labelled=False)
    chosen = np.random.default_rng(SEED).permutation(len(features))[: bench.options.texts]
    texts = [[features[index].inputs["input_ids"]] for index in chosen]
    times: dict[str, list[list[float]]] = {}
    for number in range(bench.options.rounds):
        for listed in _groups(bench):
            for name, found in _run(bench, listed, texts, passes=1).items():
                times.setdefault(name, []).extend(found["times"])
        bench.progress.line(f"{bench.name}: round {number + 1} of {bench.options.rounds} measured")
    (bench.work / "speed.json").write_text(json.dumps(times))


def full(bench: Bench) -> None:
    """Times of runs of all layers at several shapes, the plain graph and those with exits in turn; medians by round."""
    listed = [row for row in rows(bench.task.multi_label) if row.graph == "teacher" or row.runs_all]
    listed = [row for row in listed if bench.graph(row.graph).exists()]
    generator = np.random.default_rng(SEED)
    batches = [generator.integers(1000, 20_000, shape).tolist() for shape in SHAPES]
    times: dict[str, list[list[float]]] = {row.name: [] for row in listed}
    for number in range(bench.options.rounds):
        for row in listed:
            taken = np.asarray(_run(bench, [row], batches, passes=FULL_PASSES)[row.name]["times"])
            times[row.name].append(np.median(taken, axis=0).tolist())
        bench.progress.line(f"{bench.name}: round {number + 1} of {bench.options.rounds} of full runs measured")
    (bench.work / "full.json").write_text(json.dumps(times))


PARTS: dict[str, Callable[[Bench], None]] = {
    "teacher": teacher,
    "plain": plain,
    "dact": dact,
    "deebert": deebert,
    "pabee": pabee,
    "dact_few": dact_few,
    "dact_paper": dact_paper,
    "graphs": graphs,
    "quality": quality,
    "choose": choose,
    "speed": speed,
    "full": full,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "table", "all"])
    parser.add_argument("--encoder", required=True, help="checkpoint of a pre-trained encoder of six layers")
    parser.add_argument("--data", required=True, help="folder with clinc150, banking77 and goemotions")
    parser.add_argument("--sets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--work", default=".work/adaptive_depth")
    parser.add_argument("--epochs", type=float, default=None, help="of every training (default: by part)")
    parser.add_argument("--texts", type=int, default=300, help="texts that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    for set_name in parsed.sets:
        bench = Bench(set_name, parsed)
        for part in PARTS if "all" in parsed.parts else parsed.parts:
            if part in PARTS:
                PARTS[part](bench)
    if {"table", "all"} & set(parsed.parts):
        write_page(Path(parsed.work).resolve(), HERE.parent / "adaptive_depth.md", vars(parsed), HERE / "remarks.md")
