"""Regression from pairs of sentences in a file to a checked artifact, and what is refused on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random
from typing import Any

import pytest
from optimum.onnxruntime import ORTModelForSequenceClassification

from compressor.artifact.predictor import Predictor
from compressor.artifact.verify import verify
from compressor.cache import Cache
from compressor.errors import RequestError, TaskError
from compressor.models import checkpoint
from compressor.pipeline import run
from compressor.plan import make_plan
from compressor.request import build
from compressor.stages.finetune import stage as finetune
from compressor.stages.finetune.settings import FinetuneSettings
from compressor.tasks.examples import ScoredExample
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task
from tests.tiny import request

TASK = "text-regression"
WORDS = [f"w{number}" for number in range(8)]


def pairs(count: int, seed: int) -> list[ScoredExample]:
    """Pairs of sentences of three words; the number is the share of the first one's words that the second one has."""
    random = Random(seed)
    made = []
    for _ in range(count):
        first = random.sample(WORDS, 3)
        shared = random.randint(0, 3)
        others = [word for word in WORDS if word not in first]
        second = random.sample(first, shared) + random.sample(others, 3 - shared)
        random.shuffle(second)
        made.append(ScoredExample(" ".join(first), " ".join(second), round(5 * shared / 3, 2)))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of pairs, and a tiny teacher that was trained on them."""
    root = tmp_path_factory.mktemp("regression")
    for name, seed, count in (("train", 1, 600), ("dev", 2, 60)):
        rows = "".join(f"{one.text}\t{one.pair}\t{one.score}\n" for one in pairs(count, seed))
        (root / f"{name}.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    task = tiny_task(TASK)
    start = make_checkpoint(root / "start", task, layers=3, hidden=64)
    context = make_context(root, task, start)
    context = dataclasses.replace(context, data=dataclasses.replace(context.data, train=pairs(4000, 3)))
    settings = FinetuneSettings(epochs=6.0, batch_size=64, learning_rate=2e-3, precision="float32")
    finetune.run(start, settings, context)
    return root


def asked(folder: Path, recipe: str, *more: str) -> Any:
    files = [f"data.{name}={folder / name}.tsv" for name in ("train", "dev")]
    wishes = [f"task={TASK}", "device=host", "data=files", *files, f"teacher.path={folder / 'output'}"]
    return request(recipe, folder / "exports", *wishes, "features.max_length=32", *more)


@pytest.mark.parametrize("recipe", ["minilm", "length_adaptive", "pabee"])
def test_a_run_gives_a_sound_artifact(folder: Path, recipe: str) -> None:
    outcome = run(asked(folder, recipe))
    teacher, *_, artifact = outcome.rows
    assert teacher.evaluation.primary > 80  # it has learnt
    assert list(artifact.evaluation.metrics) == ["spearman", "pearson"]
    manifest = verify(outcome.artifact).manifest
    assert (manifest.task, manifest.labels) == (TASK, [])
    assert (manifest.dial is not None) == (recipe == "length_adaptive")
    assert (manifest.depth is not None) == (recipe == "pabee")

    one = pairs(1, 9)[0]
    ours = Predictor(outcome.artifact, threads=1)(one.text, pair=one.pair)
    assert ("blocks_run" in ours) == (recipe == "pabee")
    model = ORTModelForSequenceClassification.from_pretrained(outcome.artifact)
    tokenizer = checkpoint.load_tokenizer(outcome.artifact)
    theirs = model(**tokenizer(one.text, one.pair, return_tensors="pt")).logits.item()
    assert theirs == pytest.approx(ours["score"], abs=1e-4)


def test_the_teacher_quantized_keeps_its_numbers(folder: Path) -> None:
    outcome = run(asked(folder, "int8", "gates.max_metric_drop=3", "gates.min_metric=80"))
    assert outcome.rows[-1].agreement.interval.difference > -3  # hundredths of the range
    assert all(verdict.passed is not False for verdict in outcome.verdicts)


def test_a_teacher_of_classes_gets_a_new_head(folder: Path, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "classes", tiny_task("text-classification"))
    wish = asked(
        folder, "int8", f"teacher.path={tmp_path / 'classes'}", f"output={tmp_path}", "export_each_stage=false"
    )
    assert [step.name for step in make_plan(wish).steps][0] == "teacher"


@pytest.mark.parametrize("method", ["dact", "deebert"])
def test_methods_that_need_classes_are_refused_before_any_work(folder: Path, tmp_path: Path, method: str) -> None:
    wish = asked(folder, "pabee", f"recipe.stages.adaptive_depth.method={method}", f"output={tmp_path}")
    for attempt in (make_plan, run):
        with pytest.raises(RequestError, match=f"{method} needs classes, .* use method: pabee"):
            attempt(wish)
    assert not list(Cache(tmp_path / ".cache").entries())


def test_recipes_that_need_classes_and_the_demo_are_refused() -> None:
    with pytest.raises(TaskError, match="recipe 'dact_bert' cannot do text-regression: it is for text-classification"):
        build(["recipe=dact_bert", f"task={TASK}"])
    for more in (["teacher.path=x"], ["data=files", "data.dev=x.csv"]):
        with pytest.raises(TaskError, match="nothing for text-regression: give data=files .* and teacher.path=DIR"):
            build(["recipe=int8", f"task={TASK}", *more])
