"""The cache: whole entries or none, one maker at a time, the oldest go first."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compressor.cache import Cache, make_key, storage_errors
from compressor.errors import StorageError


def write(text: str):  # noqa: ANN201
    def make(output: Path, work: Path) -> dict[str, str]:
        (output / "file").write_text(text)
        return {"text": text}

    return make


def test_a_key_changes_with_everything_in_it() -> None:
    assert make_key("stage", {"a": 1, "b": [2]}) == make_key("stage", {"b": [2], "a": 1})
    assert make_key("stage", {"a": 1}) != make_key("stage", {"a": 2})
    assert make_key("stage", {"a": 1}) != make_key("pass", {"a": 1})


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.get_or_make("x-1", "a thing", write("one"))
    second = cache.get_or_make("x-1", "a thing", write("two"))

    assert (second.path / "file").read_text() == "one"
    assert second.notes == first.notes == {"text": "one"}


def test_a_failed_make_leaves_no_entry_but_its_work(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(output: Path, work: Path) -> None:
        (output / "half").write_text("half")
        (work / "step").write_text("3")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get_or_make("x-1", "a thing", fail)
    assert cache.find("x-1") is None
    assert not list((tmp_path / ".new").iterdir())

    def go_on(output: Path, work: Path) -> None:
        assert (work / "step").read_text() == "3"

    cache.get_or_make("x-1", "a thing", go_on)
    assert not (tmp_path / ".work" / "x-1").exists()


@pytest.mark.parametrize("damage", ["cut", "missing", "entry"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    entry = cache.get_or_make("x-1", "a thing", write("one"))
    target = entry.path.parent / "entry.json" if damage == "entry" else entry.path / "file"
    target.unlink() if damage == "missing" else target.write_text("o")

    assert cache.find("x-1") is None
    assert (cache.get_or_make("x-1", "a thing", write("two")).path / "file").read_text() == "two"


def test_clean_removes_the_longest_unused_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for place, key in enumerate(("x-1", "x-2", "x-3")):
        entry = cache.get_or_make(key, key, write("12345"))
        os.utime(entry.path.parent / "entry.json", (place + 1, place + 1))
    cache.find("x-1")  # used just now

    assert cache.clean(max_bytes=10) == (1, 5)
    assert sorted(entry.key for entry in cache.entries()) == ["x-1", "x-3"]
    assert cache.clean() == (2, 10)
    assert Cache(tmp_path / "none").clean() == (0, 0)


def test_clean_leaves_a_running_run_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get_or_make("x-1", "a thing", write("one"))
    with cache.in_use():
        code = (
            "import sys; from pathlib import Path; from compressor.cache import Cache; Cache(Path(sys.argv[1])).clean()"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "a run is using the cache" in done.stderr
    assert cache.clean() == (1, 3)


def test_two_makers_of_one_key_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []
    inside = threading.Event()

    def slow(output: Path, work: Path) -> None:
        inside.set()
        made.append(1)
        threading.Event().wait(0.2)

    threads = [threading.Thread(target=Cache(tmp_path).get_or_make, args=("x-1", "t", slow)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside.is_set() and made == [1]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O: No space left on device (os error 28)")]
)
def test_a_full_disk_is_one_clear_error(tmp_path: Path, error: Exception) -> None:
    def full(output: Path, work: Path) -> None:
        raise error

    with pytest.raises(StorageError, match="no space left while writing to .* cache clean"):
        Cache(tmp_path).get_or_make("x-1", "t", full)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), storage_errors(tmp_path):
        raise KeyError("x")
    with pytest.raises(StorageError, match="/nowhere: not allowed"), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "not allowed", "/nowhere")
