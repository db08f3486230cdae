import dataclasses
import errno
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from compressor.artifact import manifest as manifests
from compressor.artifact import swap, write
from compressor.artifact.verify import verify
from compressor.artifact.write import drop_refused, existing, write_refused
from compressor.errors import ArtifactError, ArtifactExistsError, StorageError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_artifact_has_everything_and_verifies(artifacts):
    folder = artifacts["question-answering"]
    assert names(folder) >= {
        "model.onnx", "config.json", "tokenizer.json", "manifest.json", "README.md", "report.html", "sample.py",
    }  # fmt: skip
    manifest = manifests.read(folder)
    assert set(manifest.files) == names(folder) - {"manifest.json"}
    assert verify(folder).extra == []
    assert names(folder.parent) & {f".{folder.name}.old"} == set()


def test_overwrite_only_if_asked(parts, tmp_path):
    part, target = parts["text-classification"], tmp_path / "deep" / "artifact"
    part.write(target)
    before = content(target)
    with pytest.raises(ArtifactExistsError, match="already holds another artifact: add overwrite=true"):
        part.write(target)
    assert content(target) == before
    part.write(target, overwrite=True, manifest=dataclasses.replace(part.manifest, seed=8))
    assert manifests.read(target).seed == 8
    assert names(target.parent) == {"artifact"}


def test_folders_of_others_are_never_replaced(parts, tmp_path):
    part = parts["text-classification"]
    (tmp_path / "mine").mkdir()
    part.write(tmp_path / "mine")  # an empty folder is not in the way
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactExistsError, match="is not an artifact of ours: move it away"):
        part.write(tmp_path / "theirs", overwrite=True)
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "years of work"


@pytest.fixture
def unchecked(monkeypatch):
    """Write without running the graph each time: faster, and the swap is the same."""
    monkeypatch.setattr(write, "verify", lambda folder: None)


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs, not even clean-up."""


def kill_at(monkeypatch, step: str, target: Path):
    """End the process just before the named step of the swap, as `kill -9` would."""
    real_rename, real_rmtree = Path.rename, shutil.rmtree

    def dead(*_, **__):
        raise Killed

    def stop() -> None:
        monkeypatch.setattr(Path, "rename", dead)  # what is dead does not clean up either
        monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
        raise Killed

    def rename(self, goal):
        if step == "before the old one moves" and self == target:
            stop()
        if step == "between the renames" and Path(goal) == target and self != swap.old_of(target):
            stop()
        return real_rename(self, goal)

    def rmtree(path, *arguments, **options):
        if step == "before the old one is removed" and Path(path) == swap.old_of(target):
            stop()
        return real_rmtree(path, *arguments, **options)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    if step == "while writing":
        monkeypatch.setattr(write, "copy_tokenizer", lambda *_: stop())
    if step == "while flushing":
        monkeypatch.setattr(swap, "flush", lambda *_: stop())


STEPS = ["while writing", "while flushing", "before the old one moves", "between the renames",
         "before the old one is removed"]  # fmt: skip


@pytest.mark.parametrize(("step", "old"), [*((step, True) for step in STEPS), (STEPS[0], False), (STEPS[3], False)])
def test_a_write_that_is_killed_is_mended_at_the_next_start(parts, tmp_path, monkeypatch, unchecked, step, old):
    part, target = parts["text-classification"], tmp_path / "artifact"
    if old:
        part.write(target)
    newer = dataclasses.replace(part.manifest, seed=8)
    with monkeypatch.context() as patch:
        kill_at(patch, step, target)
        with pytest.raises(Killed):
            part.write(target, manifest=newer, overwrite=True)
    (tmp_path / ".artifact.lock").touch()  # what is dead leaves its lock's file
    swap.mend(target)
    finished = step == "before the old one is removed"
    assert names(tmp_path) == ({"artifact"} if old or finished else set())
    if old:
        assert verify(target).manifest.seed == (8 if finished else 7)
    part.write(target, manifest=newer, overwrite=True)  # and the next run succeeds
    assert verify(target).manifest.seed == 8
    assert names(tmp_path) == {"artifact"}


@pytest.mark.parametrize("step", ["copy", "hash", "flush", "rename"])
def test_a_full_disk_leaves_the_old_one_and_no_debris(parts, tmp_path, monkeypatch, unchecked, step):
    part, target = parts["text-classification"], tmp_path / "artifact"
    part.write(target)
    before = content(target)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "copy":
            patch.setattr(shutil, "copyfile", full)
        elif step == "hash":
            patch.setattr(write, "sha256", full)
        elif step == "flush":
            patch.setattr(os, "fsync", full)
        else:
            real = Path.rename
            patch.setattr(Path, "rename", lambda self, to: full() if ".new-" in self.name else real(self, to))
        with pytest.raises(StorageError, match="No space left on device. What was there before is unchanged"):
            part.write(target, overwrite=True)
    assert content(target) == before
    assert names(tmp_path) == {"artifact"}


def test_an_interrupt_leaves_the_old_one_and_no_debris(parts, tmp_path, monkeypatch):
    part, target = parts["text-classification"], tmp_path / "artifact"
    part.write(target)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(write, "verify", interrupt)
        with pytest.raises(KeyboardInterrupt):
            part.write(target, overwrite=True)
    assert names(tmp_path) == {"artifact"}
    assert verify(target)


def test_a_folder_that_cannot_be_written_is_a_storage_error(parts, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match="cannot write|could not be mended"):
        parts["text-classification"].write(blocked / "artifact")


def test_half_written_folders_stay_while_their_writer_lives(tmp_path):
    target, others = tmp_path / "artifact", tmp_path / ".artifact[1].new-0"
    ended = [tmp_path / f".artifact.new-{name}" for name in (os.getpid(), os.getppid(), "0123abcd")]
    for folder in (others, *ended):
        folder.mkdir()
    with swap.building(target) as new:
        assert names(tmp_path) == {new.name, ".artifact.lock", others.name}  # whatever its number, it has ended
        swap.mend(target)
        assert new.is_dir()
        (new / "file").write_text("one")
    assert names(tmp_path) == {"artifact", others.name}
    assert names(target) == {"file"}


def test_two_writers_of_one_target_wait_for_each_other(tmp_path):
    target = tmp_path / "artifact"
    seen = []

    def second():
        with swap.building(target) as folder:
            seen.append(names(target))
            (folder / "second").write_text("2")

    thread = threading.Thread(target=second)
    with swap.building(target) as folder:
        thread.start()
        thread.join(0.1)  # time enough for one that does not wait
        (folder / "first").write_text("1")
    thread.join()
    assert seen == [{"first"}]
    assert names(target) == {"second"}
    assert names(tmp_path) == {"artifact"}


def test_an_artifact_on_a_disk_that_cannot_be_written_is_still_looked_at(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "artifact").mkdir()
    monkeypatch.setattr(swap, "FileLock", refuse)
    swap.mend(tmp_path / "artifact")  # nothing to mend
    swap.old_of(tmp_path / "artifact").mkdir()
    with pytest.raises(StorageError, match="could not be mended.*Read-only file system"):
        swap.mend(tmp_path / "artifact")


def test_an_artifact_that_does_not_verify_is_not_written(parts, tmp_path):
    part = parts["question-answering"]
    other = parts["text-classification"].model
    with pytest.raises(ArtifactError, match="disagree about the length dial"):
        part.write(tmp_path / "artifact", model=other)
    assert names(tmp_path) == set()


def test_the_same_request_finds_its_artifact(parts, tmp_path):
    part, target = parts["text-classification"], tmp_path / "artifact"
    assert existing(target, "kkkkkkkk") is None
    part.write(target)
    assert existing(target, "kkkkkkkk").seed == 7
    assert existing(target, "another") is None
    (target / "README.md").write_text("changed")
    with pytest.raises(ArtifactError, match="README.md is not the file that was written"):
        existing(target, "kkkkkkkk")
    (target / "manifest.json").write_text("{")
    assert existing(target, "kkkkkkkk") is None


def test_a_refusal_leaves_a_report_and_no_model(parts, tmp_path):
    manifest, place = parts["text-classification"].manifest, Path("tiny") / "text-demo" / "host"
    folder = write_refused(tmp_path, place, manifest, "<p>No artifact was written</p>")
    assert folder == tmp_path / ".refused" / place
    assert names(folder) == {"report.html", "manifest.json"}
    assert (folder / "report.html").read_text() == "<p>No artifact was written</p>"
    write_refused(tmp_path, place, manifest, "another reason")  # replaces the first
    assert "another reason" in (folder / "report.html").read_text()
    drop_refused(tmp_path, place)
    drop_refused(tmp_path, place)
    assert not folder.exists()


def test_figures_that_json_cannot_hold_become_null(parts, tmp_path):
    manifest = dataclasses.replace(
        parts["text-classification"].manifest, parity={"max_abs": float("inf"), "cases": [float("nan"), 1.0]}
    )
    folder = write_refused(tmp_path, Path("x"), manifest, "parity")
    assert manifests.read(folder).parity == {"max_abs": None, "cases": [None, 1.0]}


def test_files_can_be_read_by_others(artifacts):
    for path in artifacts["fixed"].iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
    assert json.loads((artifacts["fixed"] / "config.json").read_text())["architectures"] == ["BertForQuestionAnswering"]
