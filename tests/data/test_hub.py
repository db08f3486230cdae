"""The hub without a network: `datasets` is replaced where it would download."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from datasets.exceptions import DatasetGenerationError

from compressor.config.run import DataSettings
from compressor.config.schema import parse
from compressor.data import load
from compressor.errors import DataError
from compressor.tasks.examples import Answer, QuestionExample, TextExample, TokenExample

PRESETS = Path(__file__).parents[2] / "conf" / "data"


def serve(monkeypatch: pytest.MonkeyPatch, parts: dict[str, datasets.Dataset]) -> list[Any]:
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append((name, config, split))
        return parts[split]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def preset(name: str) -> DataSettings:
    return parse(DataSettings, yaml.safe_load((PRESETS / f"{name}.yaml").read_text()), where=name)


def test_class_numbers_become_names(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    train = datasets.Dataset.from_dict({"sentence": ["bad", "fine"], "label": [0, 1]}, features=features)
    dev = datasets.Dataset.from_dict({"sentence": ["good"], "label": [1]}, features=features)
    asked = serve(monkeypatch, {"train": train, "validation": dev})
    splits = load(preset("sst2"), "text-classification", 0)
    assert splits.dev == [TextExample("good", None, ("positive",))]
    assert splits.labels == ("negative", "positive")
    assert asked == [("stanfordnlp/sst2", None, "train"), ("stanfordnlp/sst2", None, "validation")]
    assert splits.name == "stanfordnlp-sst2"


def test_questions_and_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": ["a"], "question": ["Where?"], "context": ["In Oslo."], "title": ["t"]}
    rows = datasets.Dataset.from_dict({**row, "answers": [{"text": ["Oslo"], "answer_start": [3]}]})
    other = datasets.Dataset.from_dict(
        {**row, "context": ["By Oslo."], "answers": [{"text": ["Oslo"], "answer_start": [3]}]}
    )
    serve(monkeypatch, {"train": other, "validation": rows})
    (question,) = load(preset("squad"), "question-answering", 0).dev
    assert question == QuestionExample("a", "Where?", "In Oslo.", (Answer("Oslo", 3),))

    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-LOC"])),
        }
    )
    train = datasets.Dataset.from_dict({"tokens": [["by", "Oslo"]], "ner_tags": [[0, 1]]}, features=features)
    dev = datasets.Dataset.from_dict({"tokens": [["in", "Oslo"]], "ner_tags": [[0, 1]]}, features=features)
    serve(monkeypatch, {"train": train, "validation": dev})
    splits = load(preset("conll2003"), "token-classification", 0)
    assert splits.dev == [TokenExample(("in", "Oslo"), ("O", "B-LOC"))]


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\n(offline)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        DataError, match=r"'rajpurkar/squad' .split 'train'. cannot be had .* reach the hub .offline.. Che"
    ):
        load(preset("squad"), "question-answering", 0)
    with pytest.raises(DataError, match="data=hub needs data.name=NAME"):
        load(preset("hub"), "question-answering", 0)


def test_a_data_set_that_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: Any, **__: Any) -> None:
        raise DatasetGenerationError("An error occurred while generating the dataset")

    monkeypatch.setattr(datasets, "load_dataset", damaged)
    with pytest.raises(DataError, match="cannot be had .* An error occurred while generating"):
        load(preset("squad"), "question-answering", 0)


def test_no_training_data_where_train_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = datasets.Dataset.from_dict({"sentence": ["good"], "label": ["x"]})
    asked = serve(monkeypatch, {"validation": dev})

    splits = load(dataclasses.replace(preset("sst2"), train=None), "text-classification", 0)

    assert splits.train == [] and splits.dev == [TextExample("good", None, ("x",))]
    assert [part for _, _, part in asked] == ["validation"]


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid(path: Path) -> None:
    assert preset(path.stem).source in ("demo", "files", "hub")
