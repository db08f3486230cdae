"""What keys and memos depend on, and what `plan` does where nothing can be written."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest

from compressor import keys
from compressor.cache import Cache
from compressor.cli import main
from compressor.data.demo import vocabulary
from compressor.data.splits import Splits
from compressor.data_memo import recall, remember
from compressor.keys import Keys, folder_fingerprint
from compressor.plan import PlannedStep, identity, make_plan
from compressor.request import Request, build
from compressor.teacher import teacher_key

PARTS = ("train", "calibration", "search", "dev")


def asked(output: Path, *more: str) -> Request:
    return build(["recipe=int8", "task=text-classification", f"output={output}", *more])


def read(request: Request) -> Splits:
    """Data as a run would have read it."""
    return Splits("tiny", [], [], [], [], ("a", "b"), False, dict.fromkeys(PARTS, "f"))


def test_a_request_with_another_tolerance_is_another_one(tmp_path: Path) -> None:
    steps = [PlannedStep("export", "export", "export-1", "")]
    found = [
        identity(asked(tmp_path, f"export.parity_tolerance={tolerance}"), steps, {"dev": "f"})
        for tolerance in (1e-3, 1e-3, 1e-6)
    ]

    assert found[0] == found[1] != found[2]


def test_another_exporter_makes_another_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = Keys(asked(tmp_path), ("a", "b"), dict.fromkeys(PARTS, "f"))
    before = of.export("checkpoint")
    monkeypatch.setattr(keys, "EXPORT_VERSION", keys.EXPORT_VERSION + 1)

    assert of.export("checkpoint") != before


@pytest.mark.parametrize("what", ["version", "vocabulary", "config"])
def test_another_demo_teacher_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    request, cache = asked(tmp_path), Cache(tmp_path)
    before = teacher_key(request, cache)
    assert teacher_key(request, cache) == before
    if what == "version":
        monkeypatch.setattr("compressor.teacher.DEMO_VERSION", 99)
    elif what == "vocabulary":
        swapped = dict(reversed(vocabulary.vocabulary().items()))
        swapped["[PAD]"], swapped["[UNK]"] = swapped["[UNK]"], swapped["[PAD]"]
        monkeypatch.setattr(vocabulary, "vocabulary", lambda: swapped)
    else:
        monkeypatch.setattr(vocabulary, "MAX_TOKENS", 128)

    assert teacher_key(request, cache) != before


@pytest.mark.parametrize("written", ["{path}", "{path}#val", "{path}#val+test", "~/data.json", "~/data.json#val"])
@pytest.mark.parametrize("name", ["train", "dev", "labels"])
def test_a_changed_file_is_not_the_one_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file, other = tmp_path / "data.json", tmp_path / "other.json"
    file.write_text("one")
    other.write_text("other")
    request = asked(tmp_path / "out", "data=files", f"data.dev={other}")
    location = written.format(path=file) if name != "labels" else written.format(path=file).partition("#")[0]
    request = dataclasses.replace(request, data=dataclasses.replace(request.data, **{name: location}))
    cache = Cache(tmp_path / "out" / ".cache")
    remember(request, cache, read(request))
    assert recall(request, cache) is not None

    file.write_text("changed")
    assert recall(request, cache) is None


def test_the_labels_of_hub_data_are_a_file_too(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.write_text("a\nb\n")
    request = asked(tmp_path, "data=hub", "data.name=x/y", f"data.labels={labels}")
    remember(request, Cache(tmp_path), read(request))
    assert recall(request, Cache(tmp_path)) is not None

    labels.write_text("b\na\nc\n")
    assert recall(request, Cache(tmp_path)) is None


@pytest.mark.parametrize("damage", ["fingerprints", "examples", "labels"])
def test_a_damaged_memo_is_none(tmp_path: Path, damage: str) -> None:
    request, cache = asked(tmp_path), Cache(tmp_path)
    remember(request, cache, read(request))
    (memo,) = (tmp_path / ".data").iterdir()
    memo.write_text(json.dumps({**json.loads(memo.read_text()), damage: {"dev": 1}}))

    assert recall(request, cache) is None


def checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', "\xff"])
def test_a_damaged_memo_of_fingerprints_is_made_anew(tmp_path: Path, content: str) -> None:
    folder, memo = checkpoint(tmp_path / "teacher"), tmp_path / "memo.json"
    expected = folder_fingerprint(folder, memo)
    memo.write_text(content, encoding="latin-1")

    assert folder_fingerprint(folder, memo) == expected
    assert len(json.loads(memo.read_text())) == 1


def test_memos_that_cannot_be_written_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path / "teacher")
    (tmp_path / "file").write_text("not a folder")
    expected = folder_fingerprint(folder, tmp_path / "memo.json")
    below = Cache(tmp_path / "file" / ".cache")
    assert folder_fingerprint(folder, below.root / ".fingerprints.json") == expected
    remember(asked(tmp_path), below, read(asked(tmp_path)))
    assert recall(asked(tmp_path), below) is None

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    assert folder_fingerprint(folder, tmp_path / "other.json") == expected
    remember(asked(tmp_path), Cache(tmp_path), read(asked(tmp_path)))


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/x"])
def test_plan_needs_no_folder_to_write_to_and_run_says_so(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from compressor.data import demo_teacher

    (tmp_path / "file").write_text("not a folder")
    teacher = demo_teacher("text-classification", tmp_path / "teacher")
    output = tmp_path / place
    made = make_plan(asked(output, f"teacher.path={teacher}"))
    assert not any(made.cached)

    assert main(["recipe=int8", "task=text-classification", f"output={output}"]) == 1
    shown = capsys.readouterr().err
    assert "output=DIR" in shown
    assert "Traceback" not in shown


def test_cache_list_counts_what_killed_runs_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = f"distill-{'0' * 24}"
    save = tmp_path / ".cache" / ".work" / key / "checkpoint-3"
    save.mkdir(parents=True)
    (save / "model").write_bytes(bytes(2_000_000))

    assert main(["cache", "list", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert key in shown and "unfinished" in shown and "0 entries and 1 unfinished, 2.0 MB" in shown.replace("\n", " ")
    assert main(["cache", "clean", "--max-gb", "1", f"output={tmp_path}"]) == 0
    assert save.exists()
    assert main(["cache", "clean", "--all", f"output={tmp_path}"]) == 0
    assert not save.exists()
