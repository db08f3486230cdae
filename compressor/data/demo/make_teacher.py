"""Trains the teacher that ships with the demo: small BERT encoders with a head for each task.

    python -m compressor.data.demo.make_teacher [--encoder questions | labels]

Writes `teacher.safetensors` (float16) beside this file: one encoder for questions, one for both kinds of labels. The
examples come from a seed of their own, so none of them is in the demo's data. Questions and letters are short at first:
attention that finds the same name in question and context, or the sentences that decide, comes early there. Tokens
attend to their equals and neighbours from the beginning (mimetic initialisation, Trockman and Kolter 2023).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from compressor.config.run import FeatureSettings, TaskName
from compressor.data import demo
from compressor.data.demo import letters, news, questions, vocabulary
from compressor.data.demo.teacher import ENCODERS, WEIGHTS, new_model, stored_name
from compressor.tasks import Feature, Task, make_task
from compressor.tasks.examples import Example
from compressor.tasks.losses import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Between = tuple[int, int]
CURRICULUM: tuple[tuple[float, questions.Size, Between, Between], ...] = (
    # from this part of the training on: size of contexts, sentences in letters that say nothing and that mislead
    (0.0, questions.Size((2, 2), (2, 4), (0, 1), (0, 0)), (0, 1), (0, 0)),
    (0.15, questions.Size((2, 3), (3, 6), (0, 2), (0, 1)), (0, 2), (0, 2)),
    (0.3, questions.Size((2, 4), (5, 8), (0, 3), (0, 2)), (1, 4), (1, 2)),
    (0.6, questions.FULL_SIZE, (2, 5), (1, 2)),
)
STEPS = {"questions": 800, "labels": 450}
BATCH = {"question-answering": 40, "text-classification": 16, "token-classification": 24}
LOSS_WEIGHT = {"question-answering": 1.0, "text-classification": 1.0, "token-classification": 5.0}  # most words are O
BATCHES_AHEAD = 8
PEAK_LEARNING_RATE = 1e-3


def main() -> None:
    """Train on one thread (some ten minutes), write the weights, say how well they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=STEPS, help="make only this one and keep the other")
    only: str | None = parser.parse_args().encoder
    torch.set_num_threads(1)
    tokenizer = vocabulary.tokenizer()
    for encoder_name, steps in STEPS.items():
        if only not in (None, encoder_name):
            continue
        torch.manual_seed(0)
        names = [name for name, encoder in ENCODERS.items() if encoder == encoder_name]
        tasks = {name: make_task(name, FeatureSettings(max_length=384), demo.LABELS[name]) for name in names}
        models = {name: new_model(name) for name in names}
        encoder = models[names[0]].bert  # of text-classification, the one with a pooler, where there are two
        start_well(encoder)
        for model in models.values():
            model.bert = encoder
        train(models, tasks, tokenizer, steps=steps)
        save(models)
        for name in names:
            print(name, evaluate(models[name], tasks[name], tokenizer, demo.examples(name, "dev", 300, 0)), flush=True)


def save(models: dict[TaskName, torch.nn.Module]) -> None:
    """Write these models' weights into the file, and keep what it has of others."""
    weights = load_file(WEIGHTS) if WEIGHTS.exists() else {}
    kept = {*ENCODERS, *ENCODERS.values()}
    weights = {key: value for key, value in weights.items() if key.split("/")[0] in kept}
    for name, model in models.items():
        weights |= {stored_name(name, key): value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, WEIGHTS)


def start_well(encoder: torch.nn.Module) -> None:
    """Start where attention to equal and to neighbouring tokens is near, which small data does not teach soon.

    Positions start as waves (Vaswani et al. 2017, section 3.5). In the first two layers, one head looks at the token
    before and one at the token after (its queries are the keys turned by one position), the others at tokens like
    their own (queries and keys with the same orthogonal weights).
    """
    positions: torch.Tensor = encoder.embeddings.position_embeddings.weight  # type: ignore[union-attr, assignment]
    length, width = positions.shape
    frequencies = torch.exp(torch.arange(0, width, 2) * (-math.log(1000.0) / width))
    angles = torch.arange(length)[:, None] * frequencies
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(length, width)
    positions.data.copy_(waves * 0.02 * math.sqrt(2))
    for layer in list(encoder.encoder.layer)[:2]:  # type: ignore[union-attr, arg-type]
        attention = layer.attention.self
        query, key = attention.query.weight.data, attention.key.weight.data
        shared = 0.7 * torch.nn.init.orthogonal_(torch.empty_like(query))
        query += shared
        key += shared
        size = attention.attention_head_size
        for head, offset in enumerate((-1, 1)):
            rows = slice(head * size, (head + 1) * size)
            query[rows] = 1.4 * _turn(frequencies, offset)[:size]
            key[rows] = 1.4 * torch.eye(width)[:size]


def _turn(frequencies: torch.Tensor, offset: int) -> torch.Tensor:
    """The matrix [width, width] that turns the wave of a position into that of the position `offset` further."""
    width = 2 * len(frequencies)
    matrix = torch.zeros(width, width)
    even = torch.arange(0, width, 2)
    cosine, sine = (frequencies * offset).cos(), (frequencies * offset).sin()
    matrix[even, even], matrix[even, even + 1] = cosine, sine
    matrix[even + 1, even], matrix[even + 1, even + 1] = -sine, cosine
    return matrix


def train(
    models: dict[TaskName, torch.nn.Module],
    tasks: dict[TaskName, Task],
    tokenizer: PreTrainedTokenizerBase,
    *,
    steps: int,
) -> None:
    """AdamW with warm-up and a linear decay; each step has a batch of every given task."""
    parameters = list({id(p): p for model in models.values() for p in model.parameters()}.values())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    averages = dict.fromkeys(tasks, 0.0)
    batches = Batches(tasks, tokenizer)
    for step in range(steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * min((step + 1) / 60, (1 - done) / 0.6, 1.0)
        for name in tasks:
            inputs, labels = batches.next(name, done)
            models[name].train()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = models[name](**inputs)
            loss = tasks[name].loss(outputs, labels)
            (LOSS_WEIGHT[name] * loss).backward()  # type: ignore[no-untyped-call]
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


class Batches:
    """Endless batches of fresh examples."""

    def __init__(self, tasks: dict[TaskName, Task], tokenizer: PreTrainedTokenizerBase) -> None:
        """Start with the teacher's own seed."""
        self.tasks, self.tokenizer, self.random = tasks, tokenizer, Random("teacher")
        self.waiting: dict[TaskName, list[list[Feature]]] = {name: [] for name in tasks}

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
