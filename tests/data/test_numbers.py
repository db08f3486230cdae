"""Texts with numbers, for regression: every layout, and every way in which a number can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import datasets
import pytest

from compressor.config.run import DataSettings
from compressor.data import load
from compressor.errors import DataError, TaskError
from compressor.tasks.examples import ScoredExample
from tests.data.test_hub import serve

Write = Callable[[str, str], str]
TASK = "text-regression"


def dev(path: str, **settings: Any) -> list[Any]:
    return list(load(DataSettings(source="files", dev=path, **settings), TASK, 0).dev)


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("d.csv", "sentence1,sentence2,score\na,b,5.0\nc,d, -2\n", {}),
        ("d.csv.gz", "a_text,b_text,score\na,b,5\nc,d,-2e0\n", {"text_column": "a_text", "pair_column": "b_text"}),
        ("d.tsv", "label\tsentence1\tsentence2\n5.000\ta\tb\n-2\tc\td\n", {}),
        ("d.tsv", "a\tb\t5.0\nc\td\t-2\n", {"text_column": "0", "pair_column": "1", "label_column": "2"}),
        (
            "d.jsonl",
            '{"text": "a", "pair": "b", "gold": 5}\n{"text": "c", "pair": "d", "gold": "-2.0"}',
            {"label_column": "gold"},
        ),
    ],
)
def test_pairs_in_every_layout(name: str, text: str, settings: dict[str, Any], write: Write) -> None:
    assert dev(write(name, text), **settings) == [ScoredExample("a", "b", 5.0), ScoredExample("c", "d", -2.0)]


def test_single_texts_and_no_labels(write: Write) -> None:
    splits = load(DataSettings(source="files", dev=write("d.csv", "review,rating\na,4\nb,2.5\n")), TASK, 0)
    assert splits.dev == [ScoredExample("a", None, 4.0), ScoredExample("b", None, 2.5)]
    assert splits.labels == () and not splits.multi_label


def test_parts_are_divided_by_text_and_pair(write: Write) -> None:
    rows = [f"a{number},b,{number / 7:.3f}" for number in range(50)]
    train = write("train.csv", "\n".join(["text,pair,score", *rows, "c,d,1"]))
    splits = load(DataSettings(source="files", train=train, dev=write("dev.csv", "text,pair,score\nc,d,2\n")), TASK, 0)
    assert len(splits.search) == 10 and len(splits.train) == 40
    assert not {example.text for example in splits.search} & {example.text for example in splits.train}
    assert all(example.text != "c" for example in splits.train)  # it is in dev
    other = load(DataSettings(source="files", dev=write("other.csv", "text,pair,score\nc,d,3\n")), TASK, 0)
    assert other.fingerprints["dev"] != splits.fingerprints["dev"]


def test_numbers_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [3.5], "idx": [0]})
    serve(monkeypatch, {"validation": rows})
    splits = load(DataSettings(source="hub", name="nyu-mll/glue", config="stsb"), TASK, 0)
    assert splits.dev == [ScoredExample("a", "b", 3.5)]
    assert splits.labels == () and not splits.multi_label


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "positive",
            "line 3: the label 'positive' is not a number, .* data.label_column, or use task=text-classification",
        ),
        ("3,5", "line 3: the label '3,5' is not a number"),
        ("1_000", "line 3: the label '1_000' is not a number"),
        ("nan", "line 3: the label 'nan' is not a finite number: correct or remove the row"),
        ("-inf", "line 3: the label '-inf' is not a finite number"),
        (" ", "line 3: the label is empty"),
    ],
)
def test_labels_that_are_no_numbers_in_tables(value: str, message: str, write: Write) -> None:
    with pytest.raises(DataError, match=message):
        dev(write("d.tsv", f"text\tlabel\na\t1\nb\t{value}\n"))


@pytest.mark.parametrize("value", [True, [1.0], {"a": 1}, "x", 10**400])
def test_labels_that_are_no_numbers_in_json(value: Any, write: Write) -> None:
    with pytest.raises(DataError, match="line 1: the label .* is not a number"):
        dev(write("d.jsonl", json.dumps({"text": "a", "label": value})))


def test_missing_numbers(write: Write) -> None:
    with pytest.raises(DataError, match="line 1: 'label' is missing"):
        dev(write("d.jsonl", '{"text": "a", "label": null}'))


@pytest.mark.parametrize("key", ["labels", "label_separator"])
def test_names_of_labels_have_no_place(key: str, write: Write) -> None:
    value = write("labels.txt", "a\nb\n") if key == "labels" else ","
    with pytest.raises(DataError, match=f"data.{key} is for labels that are names"):
        dev(write("d.csv", "text,score\na,1\n"), **{key: value})


def test_formats_without_numbers(write: Write) -> None:
    with pytest.raises(
        TaskError, match="conll files cannot hold text-regression examples; they are for csv or tsv or js"
    ):
        dev(write("d.conll", "a O\n"))


def test_the_demo_has_none() -> None:
    with pytest.raises(TaskError, match="nothing for text-regression: give data=files"):
        load(DataSettings(), TASK, 0)
