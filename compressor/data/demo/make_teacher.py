"""Trains the teacher that ships with the demo: one small BERT encoder with a head for each task.

    python -m compressor.data.demo.make_teacher [--steps 900] [--resume STEP]

Writes `teacher.safetensors` (float16, all heads) beside this file. The examples come from a seed of their own, so none
of them is in the demo's data. Questions and letters are short at first: attention that finds the same name in question
and context, or the one sentence that decides, comes early there. Queries and keys of the first layers start alike
(mimetic initialisation, Trockman and Kolter 2023), so that tokens attend to their equals from the beginning.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from compressor.config.run import TASK_NAMES, FeatureSettings, TaskName
from compressor.data import demo
from compressor.data.demo import letters, news, questions, vocabulary
from compressor.data.demo.teacher import HEAD_PREFIX, WEIGHTS, new_model, stored_weights
from compressor.tasks import Feature, Task, make_task
from compressor.tasks.examples import Example
from compressor.tasks.losses import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Between = tuple[int, int]
CURRICULUM: tuple[tuple[float, questions.Size, Between, Between], ...] = (
    # from this part of the training on: size of contexts, sentences in letters that say nothing and that mislead
    (0.0, questions.Size((2, 2), (1, 2), (0, 0)), (0, 1), (0, 0)),
    (0.1, questions.Size((2, 3), (1, 2), (0, 1)), (0, 2), (0, 2)),
    (0.3, questions.Size((2, 4), (1, 3), (0, 1)), (1, 4), (1, 2)),
    (0.55, questions.FULL_SIZE, (2, 5), (1, 2)),
)
BATCH = {"question-answering": 24, "text-classification": 16, "token-classification": 24}
BATCHES_AHEAD = 8
PEAK_LEARNING_RATE = 1e-3


def main() -> None:
    """Train on one thread (some ten minutes), say how well it does, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--resume", type=int, default=0, help="go on from teacher.safetensors as it was at this step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = vocabulary.tokenizer()
    tasks = {name: make_task(name, FeatureSettings(max_length=384), demo.LABELS[name]) for name in TASK_NAMES}
    models = {name: new_model(name) for name in TASK_NAMES}
    encoder = models["text-classification"].bert  # the one with a pooler
    for model in models.values():
        model.bert = encoder
    start_alike(encoder)
    if arguments.resume:
        for name, model in models.items():
            model.load_state_dict(stored_weights(name), strict=False)
    train(models, tasks, tokenizer, steps=arguments.steps, start=arguments.resume)
    for name in TASK_NAMES:
        print(name, evaluate(models[name], tasks[name], tokenizer, demo.examples(name, "dev", 300, 0)), flush=True)
    save(models)


def save(models: dict[TaskName, torch.nn.Module]) -> None:
    """Write the encoder and all heads into one file."""
    weights: dict[str, torch.Tensor] = {}
    for name, model in models.items():
        for key, value in model.state_dict().items():
            stored = key if key.startswith("bert.") else f"{HEAD_PREFIX[name]}{key}"
            weights[stored] = value.half().contiguous()
    save_file(weights, WEIGHTS)


def start_alike(encoder: torch.nn.Module, strength: float = 0.7) -> None:
    """Give queries and keys of the first two layers the same weights, near the identity."""
    for layer in list(encoder.encoder.layer)[:2]:  # type: ignore[union-attr, arg-type]
        query, key = layer.attention.self.query.weight, layer.attention.self.key.weight
        shared = torch.nn.init.orthogonal_(torch.empty_like(query)) * strength
        query.data.copy_(shared + 0.02 * torch.randn_like(query))
        key.data.copy_(shared + 0.02 * torch.randn_like(key))


def train(
    models: dict[TaskName, torch.nn.Module],
    tasks: dict[TaskName, Task],
    tokenizer: PreTrainedTokenizerBase,
    *,
    steps: int,
    start: int = 0,
) -> None:
    """AdamW with warm-up and a linear decay; each step has a batch of every task."""
    parameters = list({id(p): p for model in models.values() for p in model.parameters()}.values())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    averages = dict.fromkeys(TASK_NAMES, 0.0)
    batches = Batches(tasks, tokenizer, start)
    for step in range(start, steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * min((step - start + 1) / 60, (1 - done) / 0.6, 1.0)
        for name in TASK_NAMES:
            inputs, labels = batches.next(name, done)
            models[name].train()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = models[name](**inputs)
            loss = tasks[name].loss(outputs, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            averages[name] += 0.05 * (loss.item() - averages[name])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 49:
            print(
                f"step {step + 1} after {time.process_time():.0f} s:",
                *(f"{name} {loss:.3f}" for name, loss in averages.items()),
                flush=True,
            )
            save(models)


class Batches:
    """Endless batches of fresh examples."""

    def __init__(self, tasks: dict[TaskName, Task], tokenizer: PreTrainedTokenizerBase, start: int) -> None:
        """Start with the teacher's own seed."""
        self.tasks, self.tokenizer, self.random = tasks, tokenizer, Random(f"teacher/{start}")
        self.waiting: dict[TaskName, list[list[Feature]]] = {name: [] for name in TASK_NAMES}

    def next(self, name: TaskName, done: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Inputs and labels of one batch; `done` is the part of the training that lies behind."""
        if not self.waiting[name]:
            self.waiting[name] = self._refill(name, done)
        return collate(self.waiting[name].pop(), self.tokenizer.pad_token_id or 0)

    def _refill(self, name: TaskName, done: float) -> list[list[Feature]]:
        """Several batches, each of rows of about one length, in random order."""
        examples: list[Example] = []
        while len(examples) < BATCH[name] * BATCHES_AHEAD:
            examples += self._examples(name, done)
        features = self.tasks[name].features(examples, self.tokenizer, labelled=True)
        features.sort(key=lambda feature: feature.length)
        batches = [features[first : first + BATCH[name]] for first in range(0, len(features), BATCH[name])]
        self.random.shuffle(batches)
        return batches

    def _examples(self, name: TaskName, done: float) -> Sequence[Example]:
        _, size, fillers, misleading = [entry for entry in CURRICULUM if entry[0] <= done][-1]
        if name == "text-classification":
            return [letters.letter(self.random, fillers=fillers, misleading=misleading)]
        if name == "token-classification":
            return [news.sentence(self.random)]
        return questions.contexts_with_questions(self.random, "teacher", questions=4, size=size)


def collate(features: Sequence[Feature], padding: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Pad to the longest row."""
    longest = max(feature.length for feature in features)

    def rows(values: Iterator[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in values])

    inputs = {
        name: rows((feature.inputs[name] for feature in features), padding if name == "input_ids" else 0)
        for name in features[0].inputs
    }
    labels = {
        name: rows((feature.labels[name] for feature in features), IGNORED)
        if isinstance(first, list)
        else torch.tensor([feature.labels[name] for feature in features])
        for name, first in features[0].labels.items()
    }
    return inputs, labels


def evaluate(
    model: torch.nn.Module, task: Task, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> dict[str, float]:
    """Metrics of a model in float32."""
    model.eval()
    features = task.features(examples, tokenizer, labelled=False)
    outputs: list[dict[str, np.ndarray]] = []
    for first in range(0, len(features), 32):
        part = features[first : first + 32]
        inputs, _ = collate(part, tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            result = model(**inputs)
        for row, feature in enumerate(part):
            cut = slice(None) if task.name == "text-classification" else slice(feature.length)
            outputs.append({name: result[name][row][cut].numpy() for name in task.output_names})
    return task.score(examples, task.decode(examples, features, outputs))


if __name__ == "__main__":
    main()
