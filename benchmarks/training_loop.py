"""`train()` against a plain PyTorch loop doing the same passes.

`python benchmarks/training_loop.py --teacher DIR --train FILE --dev FILE`

Each run is a process of its own, the two in turn; prints samples a second (after the first updates) and peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from compressor import data as data_room
from compressor.config.run import DataSettings, FeatureSettings
from compressor.devices import profiles
from compressor.models.checkpoint import load, load_tokenizer
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive
from compressor.progress import Silent
from compressor.request.folders import group_folders
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.length_adaptive.objective import SandwichObjective
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.tasks import make_task
from compressor.training.batches import BatchLoader, LengthGroupedBatches
from compressor.training.optimizer import make_optimizer, make_schedule
from compressor.training.precision import autocast
from compressor.training.train import train


def run(options: argparse.Namespace) -> dict[str, float]:
    """One measured run of `options.steps` updates; the objective and the batches are the same for both ways."""
    torch.manual_seed(0)
    task = make_task("question-answering", FeatureSettings())
    settings = LengthAdaptiveSettings(max_steps=options.steps, batch_size=options.batch_size)
    source = DataSettings(source="files", train=options.train, dev=options.dev)
    examples = data_room.load(source, task.name, 0).train[:2000]
    tokenizer = load_tokenizer(Path(options.teacher))
    features = task.features(examples, tokenizer, labelled=True)[: options.steps * options.batch_size]
    model = load(Path(options.teacher), task)
    make_length_adaptive(model, LengthAdaptive(keep=[1.0] * model.config.num_hidden_layers))
    objective = SandwichObjective(task, settings, model.config.num_hidden_layers, 0)
    if options.way == "train":
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            context = StageContext(
                task=task,
                data=None,  # type: ignore[arg-type]
                teacher=Checkpoint(Path(options.teacher), "teacher"),
                device=profiles.load("host", group_folders("device")),
                seed=0,
                output=place / "out",
                work=place / "work",
                progress=Silent(),
            )
            summary = train(model, features, task, settings, objective, context, tokenizer)
        seconds = summary.seconds
    else:
        seconds = plain_loop(model, features, task, settings, objective, tokenizer)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"samples_per_second": len(features) / seconds, "peak_mb": int(peak.split()[1]) / 1024}


def plain_loop(model, features, task, settings, objective, tokenizer) -> float:  # type: ignore[no-untyped-def]
    """What one would write by hand; gives seconds."""
    batches = LengthGroupedBatches([feature.length for feature in features], settings.batch_size, 0)
    loader = BatchLoader(batches, features, tokenizer, task, pin_memory=False)
    optimizer = make_optimizer(model, settings)
    schedule = make_schedule(optimizer, len(batches), settings.warmup)
    model.train()
    start = time.perf_counter()
    for step, (inputs, labels) in enumerate(loader):
        passes = objective(model, inputs, labels, step)
        while True:
            with autocast(settings.precision, torch.device("cpu")):
                loss = next(passes, None)
            if loss is None:
                break
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--train", required=True, help="SQuAD JSON file")
    parser.add_argument("--dev", required=True, help="SQuAD JSON file that is kept out of the training data")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=["train", "plain"], default=None, help="measure one way in this process")
    parsed = parser.parse_args()
    if parsed.way:
        print(json.dumps(run(parsed)))
    else:
        for number in range(parsed.rounds):
            for way in ("train", "plain"):
                command = [sys.executable, *sys.argv, "--way", way]
                found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
                print(number, way, found, flush=True)
