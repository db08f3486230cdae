from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressor.config.run import DataSettings
from compressor.data import load
from compressor.errors import TaskError
from compressor.tasks.examples import Answer, QuestionExample, TextExample, TokenExample

Write = Callable[[str, str], str]


def dev(task: Any, path: str, **settings: Any) -> list[Any]:
    return list(load(DataSettings(source="files", dev=path, **settings), task, 0).dev)


@pytest.mark.parametrize("name", ["d.json", "d.json.gz"])
def test_squad(name: str, squad_file: Callable[..., str]) -> None:
    path = squad_file(name, {"Anna lives in Oslo.": [("a", "Where?", ["Oslo", "in Oslo"])]})
    answers = (Answer("Oslo", 14), Answer("in Oslo", 11))
    assert dev("question-answering", path) == [QuestionExample("a", "Where?", "Anna lives in Oslo.", answers)]


def test_questions_in_json_lines(write: Write) -> None:
    row = {"id": "a", "question": "Where?", "context": "In Oslo."}
    flat = {**row, "answers": {"text": ["Oslo"], "answer_start": [3]}}
    listed = {**row, "answers": [{"text": "Oslo", "answer_start": 3}]}
    path = write("d.jsonl", f"{json.dumps(flat)}\n{json.dumps(listed)}\n")
    assert dev("question-answering", path) == [QuestionExample("a", "Where?", "In Oslo.", (Answer("Oslo", 3),))] * 2


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("d.csv", 'text,category\n"Hello, you",hi\nBye,bye\n', {}),
        ("d.csv.gz", 'Intent,Utterance\nhi,"Hello, you"\r\nbye,Bye\r\n', {}),
        ("d.csv", '"Hello, you",hi\nBye,bye\n', {}),
        ("d.csv", 'x,y\n"Hello, you",hi\nBye,bye\n', {"text_column": "x", "label_column": "y"}),
        ("d.csv", 'x,y\n"Hello, you",hi\nBye,bye\n', {"text_column": "0", "label_column": "1", "header": True}),
        ("d.tsv", "1\tHello, you\thi\n2\tBye\tbye\n", {"text_column": "1", "label_column": "2", "header": False}),
        ("d.txt", "\ufefftext\tlabel\nHello, you\thi\n\nBye\tbye", {"format": "tsv"}),
        ("d.jsonl", '{"text": "Hello, you", "intent": "hi"}\n\n{"text": "Bye", "intent": "bye"}', {}),
        ("d.json", '{"train": [["a", "b"]], "val": [["Hello, you", "hi"], ["Bye", "bye"]], "test": []}', {}),
    ],
)
def test_texts_in_every_layout(name: str, text: str, settings: dict[str, Any], write: Write) -> None:
    expected = [TextExample("Hello, you", None, ("hi",)), TextExample("Bye", None, ("bye",))]
    assert dev("text-classification", write(name, text), **settings) == expected


def test_a_label_like_the_number_of_its_column_makes_no_header(write: Write) -> None:
    path = write("d.csv", "Hello,1\nBye,2\n")
    examples = dev("text-classification", path, text_column=0, label_column=1)
    assert examples == [TextExample("Hello", None, ("1",)), TextExample("Bye", None, ("2",))]


def test_pairs_and_quotes_in_tsv(write: Write) -> None:
    path = write("d.tsv", 'sentence1\tsentence2\tlabel\nsay "hi\tto me"\t1\n')
    assert dev("text-classification", path) == [TextExample('say "hi', 'to me"', ("1",))]


def test_parts_of_one_file(write: Write) -> None:
    value = {"train": [["a", "x"], ["b", "y"]], "test": [["c", "x"]], "oos_test": [["d", "oos"]]}
    path = write("full.json", json.dumps(value))
    settings = DataSettings(source="files", train=path, dev=f"{path}#test+oos_test")
    splits = load(settings, "text-classification", 0)
    assert [example.text for example in splits.dev if isinstance(example, TextExample)] == ["c", "d"]
    assert splits.labels == ("oos", "x", "y")
    assert len(splits.train) == 2


def test_several_labels_by_number(write: Write) -> None:
    labels = write("labels.txt", "joy\nanger\nfear\n")
    path = write("d.tsv", "I laugh\t0\tid1\nI shout\t1,2\tid2\nI am\t\tid3\n")
    settings = DataSettings(source="files", dev=path, labels=labels, label_separator=",")
    splits = load(settings, "text-classification", 0)
    assert splits.multi_label
    assert splits.labels == ("joy", "anger", "fear")
    assert [example.labels for example in splits.dev if isinstance(example, TextExample)] == [
        ("joy",),
        ("anger", "fear"),
        (),
    ]


def test_lists_of_labels_in_json_lines_mean_several(write: Write) -> None:
    path = write("d.jsonl", '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}\n')
    splits = load(DataSettings(source="files", dev=path), "text-classification", 0)
    assert splits.multi_label and splits.labels == ("x", "y")


def test_numbers_without_names_are_ordered_by_value(write: Write) -> None:
    path = write("d.csv", "text,label\na,10\nb,9\n")
    assert load(DataSettings(source="files", dev=path), "text-classification", 0).labels == ("9", "10")


@pytest.mark.parametrize(
    "text",
    [
        "Anna\tB-PER\nsleeps\tO\n\nOslo\tB-LOC\n",
        "-DOCSTART- -X- -X- O\n\nAnna NNP B-NP B-PER\nsleeps VB B-VP O\n\nOslo NNP B-NP B-LOC",
        "# id = 1\nAnna\tB-PER\r\nsleeps\tO\n\t\n\n# id = 2\nOslo\tB-LOC",
    ],
)
def test_conll(text: str, write: Write) -> None:
    splits = load(DataSettings(source="files", dev=write("d.conll", text)), "token-classification", 0)
    assert splits.dev == [TokenExample(("Anna", "sleeps"), ("B-PER", "O")), TokenExample(("Oslo",), ("B-LOC",))]
    assert splits.labels == ("O", "B-LOC", "B-PER")


def test_conll_words_that_look_like_comments_and_another_column(write: Write) -> None:
    path = write("d.conll", "#\tX\tO\n#tag\tY\tO\n")
    assert dev("token-classification", path) == [TokenExample(("#", "#tag"), ("O", "O"))]
    assert dev("token-classification", path, label_column="1") == [TokenExample(("#", "#tag"), ("X", "Y"))]


def test_tagged_words_in_json_lines(write: Write) -> None:
    labels = write("labels.txt", "O\nB-LOC\n")
    path = write("d.jsonl", '{"tokens": ["in", "Oslo"], "ner_tags": [0, 1]}\n')
    assert dev("token-classification", path, labels=labels) == [TokenExample(("in", "Oslo"), ("O", "B-LOC"))]


def test_the_name_tells_folder_and_file(write: Write, tmp_path: Path) -> None:
    path = write("my dev.csv.gz", "text,label\na,b\n")
    name = load(DataSettings(source="files", dev=path), "text-classification", 0).name
    assert name == f"{tmp_path.name}-my-dev"
    assert load(DataSettings(source="files", dev=path, name="mine"), "text-classification", 0).name == "mine"


def test_formats_that_cannot_hold_a_task(write: Write, squad_file: Callable[..., str]) -> None:
    with pytest.raises(
        TaskError, match="csv files cannot hold question-answering examples; they are for squad or json"
    ):
        dev("question-answering", write("d.csv", "text,label\na,b\n"))
    with pytest.raises(TaskError, match="file of questions"):
        dev("text-classification", squad_file("d.json", {"a": []}))
