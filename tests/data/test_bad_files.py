"""Every way in which a file can be wrong: one clear error that names file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressor.config.run import DataSettings
from compressor.data import load
from compressor.data.files import header_note
from compressor.errors import DataError

QA, TEXT, TOKENS = "question-answering", "text-classification", "token-classification"
ONE: dict[str, Any] = {"Anna lives in Oslo.": [("q1", "Where?", ["Oslo"])]}


def read(task: Any, path: str | Path, **settings: Any) -> Any:
    return load(DataSettings(source="files", dev=str(path), **settings), task, 0)


def refused(message: str, task: Any, path: str | Path, **settings: Any) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(task, path, **settings)
    assert Path(path).name in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_files(tmp_path: Path, write: Callable[[str, str], str]) -> None:
    write("train.csv", "text,label\na,b\n")
    refused(r"does not exist; did you mean 'train.csv'\?$", TEXT, tmp_path / "tran.csv")
    refused("nor does the folder", TEXT, tmp_path / "nowhere" / "d.csv")
    refused("cannot be read: Is a directory", TEXT, tmp_path, format="csv")


def test_empty_files(tmp_path: Path, write: Callable[[str, str], str]) -> None:
    refused("d.csv is empty", TEXT, write("d.csv", " \n\n"))
    refused("d.jsonl.gz is empty", TEXT, write("d.jsonl.gz", ""))
    (tmp_path / "e.csv.gz").write_bytes(b"")
    refused("e.csv.gz is empty", TEXT, tmp_path / "e.csv.gz")
    refused("a header but not one row", TEXT, write("h.csv", "text,label\n"))
    refused("not one sentence", TOKENS, write("d.conll", "-DOCSTART- O\n\n"))
    refused("not one example", QA, write("d.json", '{"data": []}'))


def test_damaged_gzip_files(tmp_path: Path) -> None:
    packed = gzip.compress(b"text,label\n" + b"some text,x\n" * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    refused("cut short: its gzip stream has no end", TEXT, tmp_path / "cut.csv.gz")
    (tmp_path / "plain.csv.gz").write_bytes(b"text,label\na,b\n")
    refused("not a sound gzip file", TEXT, tmp_path / "plain.csv.gz")
    (tmp_path / "bad.csv.gz").write_bytes(packed[:30] + b"\xff\xff\xff\xff" + packed[34:])
    refused("not a sound gzip file", TEXT, tmp_path / "bad.csv.gz")


def test_wrong_encodings(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\na,b\ncafé,c\n".encode("latin-1"))
    refused("line 3: byte 0xe9 is not UTF-8; .* in another encoding: save it as UTF-8", TEXT, tmp_path / "latin.csv")
    (tmp_path / "wide.csv").write_bytes("text,label\na,b\n".encode("utf-16"))
    refused("line 1: byte 0xff .* probably UTF-16", TEXT, tmp_path / "wide.csv")


def test_json_cut_short_or_of_another_layout(write: Callable[[str, str], str], squad_file: Callable[..., str]) -> None:
    text = Path(squad_file("d.json", ONE)).read_text()
    for cut in (len(text) - 1, len(text) // 2, 20):
        refused(r"line 1, column \d+: .*; the file is cut short", QA, write("cut.json", text[:cut]))
    refused(r"line 2, column 3: Expecting", QA, write("odd.json", '{"data":\n  nonsense and more, and more}'))
    refused("a list 'data' is needed", QA, write("list.json", "[1]"))
    refused(r"data\[0\]: a list 'paragraphs'", QA, write("p.json", '{"data": [{"title": "t"}]}'))
    missing = '{"data": [{"paragraphs": [{"qas": []}]}]}'
    refused(r"data\[0\].paragraphs\[0\]: the text 'context' is missing", QA, write("c.json", missing))
    refused("an object of lists by split", TEXT, write("o.json", '{"train": 3}'))
    refused("has extra: choose with PATH#PART", TEXT, write("e.json", '{"extra": [["a", "b"]]}'))
    refused(r"val\[0\]: a pair of text and label", TEXT, write("v.json", '{"val": [["a"]]}'))
    path = write("w.json", '{"val": [["a", "b"]]}')
    with pytest.raises(DataError, match="there is no part 'tst'; it has val"):
        read(TEXT, f"{path}#tst")


def test_answers_that_are_not_in_their_context(squad_file: Callable[..., str]) -> None:
    def moved(value: Any) -> Any:
        value["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 2
        return value

    refused(
        "example 'q1': the answer 'Oslo' is not in its context at character 2; it starts at 14: correct answer_star",
        QA,
        squad_file("d.json", ONE, moved),
    )
    elsewhere = {"Anna lives in Oslo.": [("q1", "Where?", ["Oslo"]), ("q2", "Where?", ["Bergen"])]}
    refused(
        "example 'q2': the answer 'Bergen' .* nowhere in it: correct the text or remove the question",
        QA,
        squad_file("e.json", elsewhere),
    )
    refused(
        "example 'q1': there is no answer; unanswerable questions",
        QA,
        squad_file("f.json", {"Anna.": [("q1", "Where?", [])]}),
    )

    def without_start(value: Any) -> Any:
        del value["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"]
        return value

    refused(
        "example 'q1': an answer must have 'text' and a whole 'answer_start'",
        QA,
        squad_file("g.json", ONE, without_start),
    )


def test_tables(write: Callable[[str, str], str]) -> None:
    refused("d.csv, line 3: 1 field where", TEXT, write("d.csv", "text,label\na,b\na\n"))
    refused("d.csv, line 3: 3 fields where the first line has 2", TEXT, write("d.csv", "text,label\na,b\na,b,c\n"))
    refused("d.csv, line 2: the row that begins here cannot be read", TEXT, write("d.csv", 'text,label\n"a,b\nc,d\n'))
    refused("d.csv, line 1: two columns have the same name", TEXT, write("d.csv", "text,text\na,b\n"))
    refused("d.csv, line 3: the label is empty", TEXT, write("d.csv", "text,label\na,b\nc, \n"))
    refused(
        "there is no column 'txt' .data.text_column.; the columns are text, label",
        TEXT,
        write("d.csv", "text,label\na,b\n"),
        text_column="txt",
    )
    refused(
        "none of the columns text, remark is known .* set data.label_column", TEXT, write("d.csv", "text,remark\na,b\n")
    )
    refused("extension '.txt' does not tell the format", TEXT, write("d.txt", "a,b\n"))


def test_json_lines(write: Callable[[str, str], str]) -> None:
    good = json.dumps({"text": "a", "label": "b"})
    refused("d.jsonl, line 2 is not JSON .* cut short", TEXT, write("d.jsonl", f'{good}\n{{"text": "a'))
    refused("d.jsonl, line 2: a JSON object is needed", TEXT, write("d.jsonl", f"{good}\n[1]\n"))
    refused("d.jsonl, line 2: 'label' is missing", TEXT, write("d.jsonl", f'{good}\n{{"text": "a"}}\n'))
    refused("d.jsonl, line 2: 'text' must be text, not 3", TEXT, write("d.jsonl", f'{good}\n{{"text": 3, "label": 1}}'))
    refused("line 1: there are 2 words but 1 tags", TOKENS, write("t.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}'))
    refused("line 1: 'tags' must be a list", TOKENS, write("t.jsonl", '{"tokens": ["a", "b"], "tags": "O"}'))
    question = {"question": "a?", "context": "a", "answers": {"text": ["a"], "answer_start": []}}
    refused("'answers' needs 'text' and 'answer_start'", QA, write("q.jsonl", json.dumps(question)))


def test_json_that_cannot_be_used(write: Callable[[str, str], str]) -> None:
    half = '{"text": "a \\ud800", "label": "b"}'
    refused(r"d.jsonl, line 1: '.ud...' stands for half of a character", TEXT, write("d.jsonl", half))
    refused("v.json: '.ud...' stands for half", TEXT, write("v.json", '{"val": [["a", "\\uDC00"]]}'))
    digits = "1" * 5000
    refused("line 1: there is a number with too many", TEXT, write("d.jsonl", f'{{"text": "a", "label": {digits}}}'))
    refused("v.json: there is a number with too many", TEXT, write("v.json", f'{{"val": [["a", {digits}]]}}'))
    deep = "[" * 100_000
    refused("line 1: lists and objects are nested too deeply", TEXT, write("d.jsonl", f'{{"text": {deep}'))
    refused("v.json: lists and objects are nested too deeply", TEXT, write("v.json", f'{{"val": {deep}'))


def test_whole_characters_may_be_escaped(write: Callable[[str, str], str]) -> None:
    splits = read(TEXT, write("d.jsonl", '{"text": "\\ud83d\\ude00", "label": "b"}'))
    assert splits.dev[0].text == "😀"


def test_numbers_that_are_too_long_to_count(write: Callable[[str, str], str]) -> None:
    digits = "1" * 5000
    labels = write("labels.txt", "joy\nanger\n")
    refused("the label '1{80}' is not among the 2", TEXT, write("d.csv", f"text,label\na,{digits}\n"), labels=labels)
    refused("there is no column '1{5000}'", TEXT, write("d.csv", "text,label\na,b\n"), label_column=digits)
    refused("must be a column number from 1 to 1", TOKENS, write("d.conll", "a\tO\n"), label_column=digits)
    assert read(TEXT, write("d.csv", f"text,label\na,{digits}\nb,9\nc,10\n")).labels == ("9", "10", digits)


def test_conll_lines(write: Callable[[str, str], str]) -> None:
    refused("d.conll, line 2: 1 columns where the first line has 2: 'b'", TOKENS, write("d.conll", "a\tO\nb\n"))
    refused("d.conll, line 1: a word and its tag are needed", TOKENS, write("d.conll", "a\n"))
    refused("d.conll, line 1: the label is empty", TOKENS, write("d.conll", "a\t\n"))
    refused(
        "data.label_column = 5 must be a column number from 1 to 1",
        TOKENS,
        write("d.conll", "a\tO\n"),
        label_column="5",
    )


def test_labels_that_are_not_in_the_list(write: Callable[[str, str], str]) -> None:
    labels = write("labels.txt", "joy\nanger\n")
    refused(
        "d.csv, line 3: the label '2' is not among the 2 labels of .*labels.txt",
        TEXT,
        write("d.csv", "text,label\na,1\nb,2\n"),
        labels=labels,
    )
    with pytest.raises(DataError, match="the label 'joy' stands there twice"):
        read(TEXT, write("d.csv", "text,label\na,1\n"), labels=write("twice.txt", "joy\njoy\n"))


def test_train_and_dev(write: Callable[[str, str], str]) -> None:
    path = write("d.csv", "text,label\na,b\n")
    with pytest.raises(DataError, match="data=files needs data.dev=PATH"):
        load(DataSettings(source="files", train=path), TEXT, 0)
    refused("are the same file", TEXT, path, train=path)
    refused(
        "every training example is in the dev data too",
        TEXT,
        path,
        train=write("copy.csv", "text,label\na,b\n"),
        name="d.csv",
    )


def test_a_first_line_that_may_be_a_header(write: Callable[[str, str], str]) -> None:
    hint = "The first line of .*d.csv was read as data: if it names the columns, set data.header=true"
    names = write("labels.txt", "good\nbad\n")
    refused(f"line 1: the label 'bar' is not among .*{hint}", TEXT, write("d.csv", "foo,bar\na,good\n"), labels=names)
    refused(f"line 1: the label 'bar' is not a number.*{hint}", "text-regression", write("d.csv", "foo,bar\na,1\n"))
    for text, settings in (("foo,good\na,bar\n", {}), ("foo,bar\na,good\n", {"header": False})):
        with pytest.raises(DataError, match=r"'bar' is not among the 2 labels of .*labels.txt\.$"):
            read(TEXT, write("d.csv", text), labels=names, **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo,bar\na,x\nb,x\n", True),
        ("a,bar\nb,bar\n", False),  # a label like any other
        ("text,label\na,bar\n", False),
        ("foo,x\na,bar\n", False),
    ],
)
def test_a_label_that_stands_in_the_first_line_alone(text: str, said: bool, write: Callable[[str, str], str]) -> None:
    settings = DataSettings(source="files", dev=write("d.csv", text))
    assert ("data.header=true" in header_note(settings, TEXT, ["bar"])) is said
