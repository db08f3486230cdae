"""The cache: whole entries or none, one maker at a time, the oldest go first."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compressor import disk
from compressor.cache import Cache, make_key
from compressor.disk import storage_errors
from compressor.errors import StorageError

KEYS = [make_key("x", {"number": number}) for number in range(3)]


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
    first = cache.get_or_make(KEYS[0], "a thing", write("one"))
    second = cache.get_or_make(KEYS[0], "a thing", write("two"))

    assert (second.path / "file").read_text() == "one"
    assert second.notes == first.notes == {"text": "one"}


def test_a_failed_make_leaves_no_entry_but_its_work(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(output: Path, work: Path) -> None:
        (output / "half").write_text("half")
        (work / "step").write_text("3")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get_or_make(KEYS[0], "a thing", fail)
    assert cache.find(KEYS[0]) is None
    assert not list((tmp_path / ".new").iterdir())

    def go_on(output: Path, work: Path) -> None:
        assert (work / "step").read_text() == "3"

    cache.get_or_make(KEYS[0], "a thing", go_on)
    assert not (tmp_path / ".work" / KEYS[0]).exists()


@pytest.mark.parametrize("damage", ["cut", "missing", "entry"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    entry = cache.get_or_make(KEYS[0], "a thing", write("one"))
    target = entry.path.parent / "entry.json" if damage == "entry" else entry.path / "file"
    target.unlink() if damage == "missing" else target.write_text("o")

    assert cache.find(KEYS[0]) is None
    assert (cache.get_or_make(KEYS[0], "a thing", write("two")).path / "file").read_text() == "two"


def test_clean_removes_the_longest_unused_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for place, key in enumerate(KEYS):
        entry = cache.get_or_make(key, key, write("12345"))
        os.utime(entry.path.parent / "entry.json", (place + 1, place + 1))
    cache.find(KEYS[0])  # used just now

    assert cache.clean(max_bytes=10) == (1, 5)
    assert sorted(entry.key for entry in cache.entries()) == sorted([KEYS[0], KEYS[2]])
    assert cache.clean() == (2, 10)
    assert Cache(tmp_path / "none").clean() == (0, 0)


def test_clean_leaves_a_running_run_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get_or_make(KEYS[0], "a thing", write("one"))
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

    threads = [threading.Thread(target=Cache(tmp_path).get_or_make, args=(KEYS[0], "t", slow)) for _ in range(3)]
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
        Cache(tmp_path).get_or_make(KEYS[0], "t", full)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", '{"title": 1, "notes": {}, "seconds": 1, "files": {}}', "\xff"]
)
def test_an_entry_that_says_nothing_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS[0] / "content").mkdir(parents=True)
    (tmp_path / KEYS[0] / "entry.json").write_text(content, encoding="latin-1")
    cache = Cache(tmp_path)

    assert cache.entries() == []
    assert cache.find(KEYS[0]) is None
    cache.clean()
    assert not (tmp_path / KEYS[0]).exists()


def test_clean_removes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    theirs = [
        "pip/wheels/a",
        ".work/thesis",
        ".data/data.json",
        ".locks/mine.lock",
        f"{KEYS[1]}/photo.jpg",
        "x-1/entry.json",
        "file",
    ]
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("years of work")
    cache = Cache(tmp_path)
    assert cache.clean() == (0, 0)
    assert not (tmp_path / ".runs").exists()

    cache.get_or_make(KEYS[0], "ours", write("one"))
    (tmp_path / KEYS[2] / "content").mkdir(parents=True)  # ours, without its entry.json
    (tmp_path / ".new" / f"{KEYS[2]}-0123abcd").mkdir(parents=True)
    disk.write_text(tmp_path / ".data" / f"{KEYS[2]}.json", "{}")
    disk.write_text(tmp_path / ".fingerprints.json", "{}")

    assert cache.clean() == (1, 3)
    assert all((tmp_path / name).read_text() == "years of work" for name in theirs)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*theirs, ".runs/guard"}


def leave_work(cache: Cache, key: str, size: int, used: int) -> Path:
    """A killed training's saves."""
    save = cache.root / ".work" / key / "checkpoint-3" / "model"
    save.parent.mkdir(parents=True)
    save.write_text("s" * size)
    os.utime(save, (used, used))
    return save


def test_saves_of_a_killed_run_count_like_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for place, key in enumerate(KEYS[:2]):
        entry = cache.get_or_make(key, key, write("12345"))
        os.utime(entry.path.parent / "entry.json", (10 * place + 10, 10 * place + 10))
    save = leave_work(cache, KEYS[2], size=7, used=15)

    assert [(left.key, left.size_bytes, left.last_used) for left in cache.unfinished()] == [(KEYS[2], 7, 15)]
    assert cache.clean(max_bytes=17) == (0, 0)
    assert save.exists()
    assert cache.clean(max_bytes=12) == (1, 5)  # the oldest entry, and not the saves, which are newer
    assert save.exists() and cache.find(KEYS[0]) is None and cache.find(KEYS[1])
    os.utime(save, (5, 5))
    assert cache.clean(max_bytes=5) == (1, 7)
    assert not save.exists() and cache.find(KEYS[1])


def test_only_a_full_clean_forgets_the_data(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    disk.write_text(tmp_path / ".data" / f"{KEYS[0]}.json", "{}")
    cache.clean(max_bytes=1)
    assert list((tmp_path / ".data").iterdir())
    cache.clean()
    assert not list((tmp_path / ".data").iterdir())


def test_a_run_that_starts_during_clean_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    cache.get_or_make(KEYS[0], "a thing", write("one"))
    seen: list[bool] = []

    def run() -> None:
        with Cache(tmp_path).in_use():
            seen.append((tmp_path / KEYS[0]).exists())

    starting = threading.Thread(target=run)
    asked = Cache._in_use

    def start_a_run_after_the_question(cache: Cache) -> bool:
        answer = asked(cache)
        starting.start()
        starting.join(0.1)  # time enough for one that does not wait
        return answer

    monkeypatch.setattr(Cache, "_in_use", start_a_run_after_the_question)
    assert cache.clean() == (1, 3)
    starting.join()
    assert seen == [False]


def test_clean_keeps_away_from_a_maker_outside_a_run_and_forgets_killed_ones(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def make(output: Path, work: Path) -> None:
        with pytest.raises(StorageError, match="a run is using the cache"):
            Cache(tmp_path).clean()
        (output / "file").write_text("one")

    assert (cache.get_or_make(KEYS[0], "a thing", make).path / "file").is_file()
    (tmp_path / ".runs" / "1-dead.lock").touch()
    cache.clean()
    assert [path.name for path in (tmp_path / ".runs").iterdir()] == ["guard"]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/x"])
def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = Cache(tmp_path / place / ".cache")

    with pytest.raises(StorageError, match=r"the cache .* cannot be used: .* output=DIR"), cache.in_use():
        pass
    with pytest.raises(StorageError, match=r"the cache .* cannot be used"):
        cache.get_or_make(KEYS[0], "a thing", write("one"))
    assert cache.entries() == cache.unfinished() == []
    assert cache.find(KEYS[0]) is None
    assert cache.clean() == (0, 0)


def test_a_read_only_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    cache = Cache(tmp_path)
    entry = cache.get_or_make(KEYS[0], "a thing", write("one"))
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(StorageError, match="Read-only file system"), cache.in_use():
        pass
    monkeypatch.setattr(os, "utime", read_only)
    assert cache.find(KEYS[0]) == entry
    with pytest.raises(StorageError, match="Read-only file system"), storage_errors(tmp_path):
        read_only()


def test_the_body_of_a_run_keeps_its_own_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="theirs"), Cache(tmp_path).in_use():
        raise FileNotFoundError(errno.ENOENT, "theirs")

    def make(output: Path, work: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "theirs")

    with pytest.raises(FileNotFoundError, match="theirs"):
        Cache(tmp_path).get_or_make(KEYS[0], "a thing", make)


def test_an_entry_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fsync

    def sync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        flushed.append("root" if path == tmp_path else path.name)
        assert path == tmp_path or not (tmp_path / KEYS[0]).exists()
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)

    def make(output: Path, work: Path) -> None:
        (output / "deep").mkdir()
        (output / "deep" / "weights").write_text("one")
        (output / "deep" / "weights").chmod(0o444)

    Cache(tmp_path).get_or_make(KEYS[0], "a thing", make)
    assert {"weights", "deep", "content", "entry.json"} <= set(flushed)
    assert flushed[-1] == "root"


def test_a_text_is_put_in_place_whole_by_every_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "memo.json"
    names: set[str] = set()
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        names.add(self.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    disk.write_text(file, "one")
    disk.write_text(file, json.dumps({"a": 1}))
    assert len(names) == 2  # each through a sibling of its own
    assert [path.name for path in file.parent.iterdir()] == ["memo.json"]
    assert json.loads(file.read_text()) == {"a": 1}

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="x"):
        disk.write_text(file, "two")
    assert [path.name for path in file.parent.iterdir()] == ["memo.json"]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), storage_errors(tmp_path):
        raise KeyError("x")
    with pytest.raises(StorageError, match="/nowhere: not allowed"), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "not allowed", "/nowhere")
