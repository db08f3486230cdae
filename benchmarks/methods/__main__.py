"""Every method on real input: `python benchmarks/methods all --encoder DIR --data DIR` writes its page.

`teacher` fine-tunes the encoder (for SQuAD it is `--question-teacher`), `stages` runs the stages of every row of
`rows.yaml` (`--rows` for some), `graphs` exports and applies the passes, `quality` answers the whole held-out part,
`speed` times one text and batches of 32 (rows in turn, processes of their own), `table` writes the page: sections of
data sets that `--work` has no speeds of stay as they are. Each result is skipped where it is there; `--work` keeps
everything between calls.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # what benchmarks share

import onnx_run
from bench import Bench
from rows import ROWS, Row
from sets import SETS
from table import write_page
from workbench import SEED

from compressor.devices.rounds import Timing, fastest_of, fastest_rounds, needs_another
from compressor.errors import CompressorError
from compressor.graph.export import export
from compressor.graph.halves import cut
from compressor.models.checkpoint import load_tokenizer, read_config
from compressor.models.families import family_of
from compressor.models.structure import Structure
from compressor.stages.context import Checkpoint
from compressor.validation.metric import evaluate

HERE = Path(__file__).parent
BATCH = 32


def teacher(bench: Bench) -> None:
    """The encoder with a head, fine-tuned; or a teacher that is there already."""
    target = bench.work / "checkpoints" / "teacher"
    if not bench.set.own_teacher:
        options = bench.options
        bench.stage("finetune", "teacher", bench.teacher, epochs=options.epochs, learning_rate=1e-4, batch_size=64)
    elif not target.exists():
        shutil.copytree(bench.options.question_teacher, target)
    bench.teacher = Checkpoint(target, "teacher")


def stages(bench: Bench) -> None:
    """The stages of every row, one behind the other."""
    for row in bench.rows:
        source = bench.source(row)
        for number, (name, values) in enumerate(row.stages, start=1):
            source = bench.stage(name, bench.after(row, number), source, seed=row.seed, **bench.located(values))


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
        if row.halves:
            config = read_config(checkpoint.path)
            split = Structure.from_config(config).split_layers
            if split is None:
                raise SystemExit(f"{row.key} is timed in halves, and its stages keep no texts apart")
            folder = bench.halves(row).lower.parent
            folder.mkdir(exist_ok=True)
            cut(source, folder, layers=split.layers, width=family_of(config).hidden_size(config))
        bench.graph(row).write_bytes(source.read_bytes())


def quality(bench: Bench) -> None:
    """Metric and scores of the held-out part for every row."""
    for row in bench.rows:
        target = bench.work / "quality" / f"{row.key}.json"
        if target.exists() or not bench.graph(row).exists():
            continue
        bench.progress.line(f"{bench.set.name}: scoring {row.key}")
        tokenizer = load_tokenizer(bench.checkpoint(row).path)
        found = evaluate(bench.graph(row), bench.task, bench.data.dev, tokenizer, bench.profile)
        target.write_text(json.dumps({"metrics": found.metrics, "scores": found.example_scores.tolist()}))


def speed(bench: Bench) -> None:
    """Times of a sample, one text at a time and in batches of 32, all rows in turn for several rounds.

    Rows that have rounds from a machine that was slow are timed anew, as often as there are rounds; the fastest rounds
    of a row, by the probe's yardstick and not by its own times, are kept.
    """
    ready = {row.key: row for row in bench.rows if bench.graph(row).exists()}
    count = bench.options.rounds
    timings: dict[str, list[Timing]] = {key: [] for key in ready}
    for number in range(2 * count):
        fastest = fastest_of(timing["yardstick_ms"] for row in timings.values() for timing in row)
        wanted = [key for key, taken in timings.items() if number < count or needs_another(taken, count, fastest)]
        for key in wanted:
            timings[key].append(_timing(bench, ready[key]))
        bench.progress.line(f"{bench.set.name}: round {number + 1}, {len(wanted)} rows measured")
    kept = {key: fastest_rounds(taken, count) for key, taken in timings.items()}
    (bench.work / "speed.json").write_text(json.dumps(kept))


def _timing(bench: Bench, row: Row) -> Timing:
    """Milliseconds of a text alone and of one in batches, each the median, and of the yardstick beside them."""
    ids, pad, separator = bench.texts(row)
    order = np.random.default_rng(SEED).permutation(len(ids))[: bench.options.texts]
    chosen = [ids[index] for index in order]
    batches = [chosen[at : at + BATCH] for at in range(0, len(chosen) - BATCH + 1, BATCH)]
    one, beside_one = _times(bench, row, [[text] for text in chosen], pad, separator)
    many, beside_many = _times(bench, row, batches, pad, separator)
    return {
        "one": float(np.median(one)),
        "many": float(np.median(many)) / BATCH,
        "yardstick_ms": max(beside_one, beside_many),
    }


def _times(
    bench: Bench, row: Row, batches: list[list[list[int]]], pad: int, separator: int
) -> tuple[np.ndarray, float]:
    """Milliseconds of every batch; with halves those of the first texts below and of both above, added up.

    Behind them the slowest yardstick.
    """
    runs = [(bench.graph(row), batches)]
    if row.halves:
        halves = bench.halves(row)
        first = [[text[: text.index(separator) + 1] for text in batch] for batch in batches]
        runs = [(halves.lower, first), (halves.upper, batches)]
    found = [onnx_run.run(model, texts, passes=2, pad=pad)["None"] for model, texts in runs]
    return sum(np.median(one["times"], axis=0) for one in found), max(one["yardstick_ms"] for one in found)


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
    parser.add_argument("--question-teacher", help="the same, fine-tuned on SQuAD (for --sets squad)")
    parser.add_argument("--data", required=True, help="folder with banking77, clinc150 and squad_v1.1")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["banking77"])
    parser.add_argument("--rows", nargs="+", choices=[row.key for row in ROWS])
    parser.add_argument("--work", default=".work/methods")
    parser.add_argument("--epochs", type=float, default=6.0, help="of the teacher's fine-tuning")
    parser.add_argument("--texts", type=int, default=320, help="texts that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    if "squad" in parsed.sets and not parsed.question_teacher:
        parser.error("--sets squad needs --question-teacher")
    for set_name in parsed.sets:
        made = Bench(SETS[set_name], parsed)
        for part in PARTS if "all" in parsed.parts else parsed.parts:
            if part in PARTS:
                PARTS[part](made)
    if {"table", "all"} & set(parsed.parts):
        write_page(Path(parsed.work).resolve(), HERE.parent / "methods.md", vars(parsed), HERE / "remarks.md")
