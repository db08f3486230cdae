"""Every method on real input: `python benchmarks/methods all --encoder DIR --data DIR` writes its page.

`teacher` fine-tunes the encoder, `stages` runs the stages of every row of `rows.yaml` (`--rows` for some), `graphs`
exports and applies the passes, `quality` answers the whole test part, `speed` times one text and batches of 32 (rows in
turn, processes of their own), `table` writes the page. Each result is skipped where it is there; `--work` keeps
everything between calls.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # what benchmarks share

import onnx_run
from rows import ROWS, Row
from table import write_page
from text_bench import TextBench
from workbench import SEED

from compressor.errors import CompressorError
from compressor.graph.export import export
from compressor.models.checkpoint import load_tokenizer
from compressor.stages.context import Checkpoint

HERE = Path(__file__).parent
BATCH = 32


class Bench(TextBench):
    """One data set with its fine-tuned teacher."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        super().__init__(name, options)
        fine_tuned = self.work / "checkpoints" / "teacher"
        if fine_tuned.exists():
            self.teacher = Checkpoint(fine_tuned, "teacher")
        self.rows = [row for row in ROWS if not options.rows or row.key in options.rows]

    def checkpoint(self, row: Row) -> Checkpoint:
        """The checkpoint of a row's last stage."""
        names = [self.after(row, number) for number in range(len(row.stages) + 1)]
        return Checkpoint(self.work / "checkpoints" / names[-1], names[-1])

    def after(self, row: Row, number: int) -> str:
        """Key of the checkpoint after so many of the row's stages."""
        return f"{row.key}-{number}" if number else "teacher"

    def graph(self, row: Row) -> Path:
        """The row's finished graph."""
        return self.work / "graphs" / f"{row.key}.onnx"

    def texts(self, row: Row) -> tuple[list[Any], int]:
        """The test part as the row's tokenizer cuts it, and its padding id."""
        tokenizer = load_tokenizer(self.checkpoint(row).path)
        return self.task.features(self.data.dev, tokenizer, labelled=False), int(tokenizer.pad_token_id)


def teacher(bench: Bench) -> None:
    """The encoder with a head, fine-tuned."""
    bench.stage("finetune", "teacher", bench.teacher, epochs=bench.options.epochs, learning_rate=1e-4, batch_size=64)
    bench.teacher = Checkpoint(bench.work / "checkpoints" / "teacher", "teacher")


def stages(bench: Bench) -> None:
    """The stages of every row, one behind the other."""
    for row in bench.rows:
        source = bench.teacher
        for number, (name, values) in enumerate(row.stages, start=1):
            source = bench.stage(name, bench.after(row, number), source, **values)


def graphs(bench: Bench) -> None:
    """Every row as a finished graph; what a pass refuses is written down, and the row left out."""
    for row in bench.rows:
        checkpoint = bench.checkpoint(row)
        if bench.graph(row).exists() or not (checkpoint.path / "config.json").exists():
            continue
        source = bench.work / "graphs" / f"{row.key}-0.onnx"
        export(checkpoint, bench.task, source, opset=17, dial="optional")
        try:
            for number, (name, values) in enumerate(row.passes, start=1):
                target = bench.work / "graphs" / f"{row.key}-{number}.onnx"
                bench.graph_pass(name, source, target, checkpoint, **values)
                source = target
        except CompressorError as error:
            bench.progress.line(f"{row.key}: {error}")
            continue
        bench.graph(row).write_bytes(source.read_bytes())


def quality(bench: Bench) -> None:
    """Metric and scores of the test part for every row."""
    for row in bench.rows:
        target = bench.work / "quality" / f"{row.key}.json"
        if target.exists() or not bench.graph(row).exists():
            continue
        bench.progress.line(f"{bench.name}: scoring {row.key}")
        features, pad = bench.texts(row)
        order = sorted(range(len(features)), key=lambda index: features[index].length)
        ids = [features[index].inputs["input_ids"] for index in order]
        found = onnx_run.run(bench.graph(row), [ids[at : at + 8] for at in range(0, len(ids), 8)], pad=pad)["None"]
        outputs: list[Any] = [None] * len(features)
        for place, logits in zip(order, found["logits"], strict=True):
            outputs[place] = {"logits": np.asarray(logits, np.float32)}
        predictions = bench.task.decode(bench.data.dev, features, outputs)
        result = {
            "metrics": bench.task.score(bench.data.dev, predictions),
            "scores": bench.task.example_scores(bench.data.dev, predictions).tolist(),
        }
        target.write_text(json.dumps(result))


def speed(bench: Bench) -> None:
    """Times of a sample, one text at a time and in batches of 32, all rows in turn for several rounds."""
    chosen = np.random.default_rng(SEED).permutation(len(bench.data.dev))[: bench.options.texts]
    ready = [row for row in bench.rows if bench.graph(row).exists()]
    times: dict[str, dict[str, list[float]]] = {row.key: {"one": [], "many": []} for row in ready}
    for number in range(bench.options.rounds):
        for row in ready:
            features, pad = bench.texts(row)
            ids = [features[index].inputs["input_ids"] for index in chosen]
            one = onnx_run.run(bench.graph(row), [[text] for text in ids], passes=1, pad=pad)["None"]["times"]
            batches = [ids[at : at + BATCH] for at in range(0, len(ids) - BATCH + 1, BATCH)]
            many = onnx_run.run(bench.graph(row), batches, passes=2, pad=pad)["None"]["times"]
            times[row.key]["one"].append(float(np.median(one)))
            times[row.key]["many"].append(float(np.median(many)) / BATCH)
        bench.progress.line(f"{bench.name}: round {number + 1} of {bench.options.rounds} measured")
    (bench.work / "speed.json").write_text(json.dumps(times))


PARTS: dict[str, Callable[[Bench], None]] = {
    "teacher": teacher,
    "stages": stages,
    "graphs": graphs,
    "quality": quality,
    "speed": speed,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "table", "all"])
    parser.add_argument("--encoder", required=True, help="checkpoint of a pre-trained encoder of six layers")
    parser.add_argument("--data", required=True, help="folder with banking77 and clinc150")
    parser.add_argument("--sets", nargs="+", choices=["banking77", "clinc150"], default=["banking77"])
    parser.add_argument("--rows", nargs="+", choices=[row.key for row in ROWS])
    parser.add_argument("--work", default=".work/methods")
    parser.add_argument("--epochs", type=float, default=6.0, help="of the teacher's fine-tuning")
    parser.add_argument("--texts", type=int, default=320, help="texts that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    for set_name in parsed.sets:
        made = Bench(set_name, parsed)
        for part in PARTS if "all" in parsed.parts else parsed.parts:
            if part in PARTS:
                PARTS[part](made)
    if {"table", "all"} & set(parsed.parts):
        write_page(Path(parsed.work).resolve(), HERE.parent / "methods.md", vars(parsed), HERE / "remarks.md")
