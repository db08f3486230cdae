"""The paper's table on real input: `python benchmarks/squad all --teacher DIR --data DIR` writes `squad.md`.

Each part resumes, and is skipped when its result is there: `adapt` trains the length-adaptive model (`untrained` is
what it starts from), `student` drops and distils layers, `graphs` exports, fuses and quantizes, `search` chooses
lengths, `quality` scores every row on the dev file, `speed` measures all rows in turn in processes of their own,
`table` writes the page. `--work` keeps everything between calls.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # what benchmarks share

from question_sets import squad
from rows import rows
from table import write_table
from workbench import SEED, Workbench

from compressor import data as data_room
from compressor.config.run import FeatureSettings
from compressor.graph.export import export
from compressor.models.checkpoint import load, load_tokenizer, save
from compressor.models.families import family_of_model
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive
from compressor.stages.context import Checkpoint
from compressor.tasks import make_task
from compressor.validation.metric import evaluate

HERE = Path(__file__).parent


class Bench(Workbench):
    """The data, the teacher and the options that all parts share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        work = Path(options.work).resolve()
        work.mkdir(parents=True, exist_ok=True)
        task = make_task("question-answering", FeatureSettings(max_length=384, doc_stride=128))
        settings = squad(
            Path(options.data),
            work,
            more_train=options.more_train,
            search=options.search_questions,
            max_dev=options.dev_questions,
        )
        data = data_room.load(settings, "question-answering", SEED)
        super().__init__(work, task, data, Checkpoint(Path(options.teacher).resolve(), "teacher"))


def adapt(bench: Bench) -> None:
    """LengthDrop training of the teacher itself (it is a MiniLM already): all lengths, late drops, then the ranking."""
    shared = {
        "batch_size": 16,
        "guide": "teacher",
        "layer_drop": 0.0,
        "kl_direction": "forward",
        "significance": "first",
    }
    wide = bench.stage(
        "length_adaptive",
        "adaptive-wide",
        bench.teacher,
        epochs=1.0,
        max_steps=bench.options.adapt_steps,
        learning_rate=6e-5,
        length_drop=[0.1, 0.1, 0.3, 0.5, 0.5, 0.5],
        sandwich=1,
        ranking=0.0,
        **shared,
    )
    late = bench.stage(
        "length_adaptive",
        "adaptive-late",
        wide,
        epochs=2.0,
        max_steps=bench.options.late_steps,
        learning_rate=6e-5,
        length_drop=[0.0, 0.0, 0.0, 0.5, 0.6, 0.6],
        sandwich=0,
        ranking=0.0,
        **shared,
    )
    bench.stage(
        "length_adaptive",
        "adaptive",
        late,
        epochs=1.0,
        max_steps=bench.options.ranked_steps,
        learning_rate=6e-5,
        length_drop=[0.0, 0.0, 0.0, 0.6, 0.6, 0.5],
        sandwich=0,
        ranking=0.1,
        **shared,
    )


def untrained(bench: Bench) -> None:
    """The teacher's own weights in the length-adaptive encoder: what LengthDrop training starts from."""
    target = bench.work / "checkpoints" / "untrained"
    if not (target / "config.json").exists():
        model = load(bench.teacher.path, bench.task)
        layers = len(family_of_model(model).layers_of(model))
        make_length_adaptive(model, LengthAdaptive(keep=[1.0] * layers, significance="first"))
        save(model, load_tokenizer(bench.teacher.path), target)


def student(bench: Bench) -> None:
    """Four of the six layers, MiniLMv2 relations from the teacher's last layer, then its logits."""
    dropped = bench.stage("drop_layers", "student-dropped", bench.teacher, keep="both_ends", layers=4)
    related = bench.stage(
        "distill",
        "student-relations",
        dropped,
        relations=1.0,
        logits=0.0,
        relation_heads=48,
        max_steps=bench.options.student_steps,
        epochs=1.0,
        learning_rate=1e-4,
    )
    bench.stage(
        "distill",
        "student",
        related,
        logits=1.0,
        labels=0.5,
        max_steps=bench.options.student_steps,
        epochs=1.0,
        learning_rate=1e-4,
    )


def graphs(bench: Bench) -> None:
    """Every graph of the table."""
    checkpoints = {
        "teacher": bench.teacher,
        "adaptive": Checkpoint(bench.work / "checkpoints" / "adaptive", "adaptive"),
        "untrained": Checkpoint(bench.work / "checkpoints" / "untrained", "untrained"),
        "student": Checkpoint(bench.work / "checkpoints" / "student", "student"),
    }
    folder = bench.work / "graphs"
    for name, checkpoint in checkpoints.items():
        if not (checkpoint.path / "config.json").exists():
            continue
        plain, fused, int8 = (folder / f"{name}{suffix}.onnx" for suffix in ("", "-fused", "-int8"))
        if not plain.exists():
            export(checkpoint, bench.task, plain, opset=17, dial="optional")
        bench.graph_pass("fuse", plain, fused, checkpoint)
        bench.graph_pass("quantize", fused, int8, checkpoint, embeddings="int8")
    from baselines import make_baselines

    make_baselines(bench.teacher.path, folder, bench.task, bench.data)


def search(bench: Bench) -> None:
    """Choose length configurations on the int8 graph, by the latency measured here."""
    checkpoint = Checkpoint(bench.work / "checkpoints" / "adaptive", "adaptive")
    folder = bench.work / "graphs"
    bench.graph_pass(
        "search_lengths",
        folder / "adaptive-int8.onnx",
        folder / "adaptive-searched.onnx",
        checkpoint,
        cost="latency",
        max_drop=1.0,
        max_evaluations=bench.options.evaluations,
    )


def quality(bench: Bench) -> None:
    """Exact match and F1 of every row on the dev file, kept one file a row."""
    folder = bench.work / "quality"
    examples = bench.data.dev
    for row in rows(bench.work):
        target = folder / f"{row.name}.json"
        if target.exists() or not row.scored:
            continue
        bench.progress.line(f"scoring {row.name}")
        if row.runtime == "openvino":
            from baselines import evaluate_openvino

            result = evaluate_openvino(row, bench.task, examples, load_tokenizer(bench.teacher.path))
        else:
            found = evaluate(
                row.model, bench.task, examples, load_tokenizer(bench.teacher.path), bench.profile, keep=row.keep
            )
            result = (found.metrics, list(found.predictions), np.asarray(found.example_scores))
        metrics, predictions, scores = result
        target.write_text(json.dumps({"metrics": metrics, "predictions": predictions, "scores": scores.tolist()}))


def speed(bench: Bench) -> None:
    """All rows in turn, each in a process of its own, for several rounds; raw times are kept."""
    tokenizer = load_tokenizer(bench.teacher.path)
    features = bench.task.features(bench.data.dev[:400], tokenizer, labelled=False)
    ids = [feature.inputs["input_ids"] for feature in features]
    longest = [row for row in ids if len(row) == bench.task.max_length] or [max(ids, key=len)]
    full = [(row * bench.task.max_length)[: bench.task.max_length] for row in longest]
    own = [ids[index] for index in np.random.default_rng(SEED).permutation(len(ids))[:40]]
    times: dict[str, dict[str, list[list[float]]]] = {}
    for round_number in range(bench.options.rounds):
        for row in rows(bench.work):
            request = {
                "model": str(row.model),
                "runtime": row.runtime,
                "precision": row.precision,
                "keep": row.keep,
                "threads": 2,
                "rows": own,
                "longest": full[:4],
                "batch": 32,
                "seconds": bench.options.seconds,
            }
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump(request, file)
                file.flush()
                command = [sys.executable, str(HERE / "row_speed.py"), file.name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            for kind, values in json.loads(done.stdout.splitlines()[-1]).items():
                times.setdefault(row.name, {}).setdefault(kind, []).append(values)
        bench.progress.line(f"round {round_number + 1} of {bench.options.rounds} measured")
    (bench.work / "speed.json").write_text(json.dumps(times))


def table(bench: Bench) -> None:
    """Write `benchmarks/squad.md`."""
    write_table(
        bench.work, HERE.parent / "squad.md", vars(bench.options), bench.profile, bench.task, HERE / "remarks.md"
    )


PARTS: dict[str, Callable[[Bench], None]] = {
    "adapt": adapt,
    "untrained": untrained,
    "student": student,
    "graphs": graphs,
    "search": search,
    "quality": quality,
    "speed": speed,
    "table": table,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"])
    parser.add_argument("--teacher", required=True, help="checkpoint of a question-answering teacher")
    parser.add_argument(
        "--data", required=True, help="folder with train_44_articles.json.gz and dev_24_articles.json.gz"
    )
    parser.add_argument(
        "--more-train", nargs="*", default=[], help="further training files in SQuAD's format, .json.gz"
    )
    parser.add_argument("--work", default=".work/squad")
    parser.add_argument(
        "--adapt-steps", type=int, default=None, help="updates of the first LengthDrop training (default: one epoch)"
    )
    parser.add_argument(
        "--late-steps", type=int, default=None, help="updates of the second one, for late drops (default: two epochs)"
    )
    parser.add_argument(
        "--ranked-steps", type=int, default=None, help="updates of the third, which also trains the ranking of tokens"
    )
    parser.add_argument("--student-steps", type=int, default=300, help="updates of each distillation")
    parser.add_argument("--search-questions", type=int, default=300)
    parser.add_argument("--evaluations", type=int, default=200, help="length configurations that the search may score")
    parser.add_argument("--dev-questions", type=int, default=None, help="score a random sample of N (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="timed seconds per row, round and input kind")
    parsed = parser.parse_args()
    bench = Bench(parsed)
    for part in PARTS if "all" in parsed.parts else parsed.parts:
        PARTS[part](bench)
