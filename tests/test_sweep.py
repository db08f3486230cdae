"""Sweeps: every combination, found again, shared among machines; one that fails does not end the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.cli import main
from compressor.errors import RequestError
from compressor.sweep import run_job
from compressor.sweep_jobs import Job, make_jobs, share
from compressor.sweep_page import Record, Run, SweepPage
from tests.report.made import manifest, put, without
from tests.require import require_module
from tests.tiny import settings

FAST = ["recipe=int8", "task=text-classification", "device=host"]


def test_combinations_of_one_place_get_names(tmp_path: Path) -> None:
    jobs = make_jobs(["recipe=int8,minilm", "seed=1,2", f"output={tmp_path}"])
    assert [job.words[:2] for job in jobs] == [
        ("recipe=int8", "seed=1"),
        ("recipe=int8", "seed=2"),
        ("recipe=minilm", "seed=1"),
        ("recipe=minilm", "seed=2"),
    ]
    places = [job.request().place for job in jobs]
    assert [place.name for place in places] == ["host,seed=1", "host,seed=2"] * 2
    assert len({job.request().artifact for job in jobs}) == 4
    assert [job.variant for job in make_jobs(["recipe=int8,minilm", f"output={tmp_path}"])] == ["", ""]
    assert [job.variant for job in make_jobs(["seed=1", f"output={tmp_path / 'a'},{tmp_path / 'b'}"])] == ["", ""]


def test_values_that_are_no_names_become_some(tmp_path: Path) -> None:
    long = "x" * 100
    jobs = make_jobs(["data=files", f"data.dev=/a/{long},/b/{long}", f"output={tmp_path}"])
    names = [job.request().place.name for job in jobs]
    assert len(set(names)) == 2 and all(len(name) < 100 and "/" not in name for name in names)


def test_shares_of_machines_are_everything_once() -> None:
    jobs = [Job(place, ("recipe=int8",)) for place in range(7)]
    shares = [share(jobs, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(job.place for part in shares for job in part) == list(range(7))
    assert [len(part) for part in shares] == [3, 2, 2] and share(jobs, None) == jobs
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(RequestError, match="--shard .* is not possible: give i/n"):
            share(jobs, wrong)


WRONG = [
    (["-m"], "there is nothing to sweep: -m takes settings"),
    (["-m", "seed=range(5,5)"], "there is nothing to sweep: seed=range(5,5) has no combination."),
    (["-m", "seed=1,2", "--launcher", "joblip"], "unknown launcher 'joblip': did you mean 'joblib'?"),
    (["-m", "seed=1,2", "hydra/launcher=joblip"], "unknown launcher 'joblip'"),
    (["-m", "seed=1,2", "hydra.launcher.n_jobs=2"], "'hydra.launcher.n_jobs=2' needs a launcher"),
    (["-m", "seed=1,2", "--shard", "3/2"], "--shard 3/2 is not possible"),
    (["-m", "recipe=int8,minlm"], "unknown recipe 'minlm': did you mean 'minilm'?"),
    (["--shard", "1/2"], "--shard means nothing to run."),
    (["plan", "-m", "seed=1,2", "--launcher", "joblib"], "--launcher means nothing to plan."),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_sweeps_end_before_any_run(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


def test_a_bug_in_one_run_becomes_a_record(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("compressor.pipeline.run", broken)
    record = run_job(Job(0, ("recipe=int8",)))
    assert (record.exit_code, record.already_there) == (1, False)
    assert record.message.startswith("ZeroDivisionError: oh") and "Traceback" in capsys.readouterr().err


@pytest.fixture
def page(tmp_path: Path) -> tuple[SweepPage, list[Job]]:
    """The page of a sweep of three, none of which has run."""
    jobs = make_jobs(["recipe=int8", "seed=1,2,3", f"output={tmp_path}"])
    return SweepPage(tmp_path / ".sweeps" / "s", tuple(map(Run.of, jobs)), "recipe=int8 seed=1,2,3"), jobs


def states(page: SweepPage) -> list[str]:
    return [run["state"] for run in json.loads((page.folder / "runs.json").read_text())["runs"]]


def test_the_page_is_there_from_the_start_and_after_each_run(page: tuple[SweepPage, list[Job]]) -> None:
    shown, jobs = page
    shown.write()
    assert states(shown) == ["missing"] * 3
    assert "3 of 3 have no result yet: the same command goes on with them." in shown.file.read_text()
    put(jobs[0].request().artifact, without(manifest("int8"), command=["recipe=int8", "seed=1"], request_key="k1"))
    shown.note(jobs[0], Record(0))
    shown.note(jobs[1], Record(2, "there is no such data"))
    assert states(shown) == ["artifact", "failed", "missing"]
    assert "there is no such data" in shown.file.read_text() and "1 of 3 have no result yet" in shown.file.read_text()


def test_a_run_that_is_found_again_does_not_write_the_page_again(page: tuple[SweepPage, list[Job]]) -> None:
    shown, jobs = page
    put(jobs[0].request().artifact, without(manifest("int8"), command=jobs[0].request().command))
    shown.note(jobs[0], Record(0))
    written = shown.file.stat().st_mtime_ns
    shown.note(jobs[0], Record(0, already_there=True))
    assert shown.file.stat().st_mtime_ns == written
    shown.note(jobs[0], Record(1, "now it fails"))
    assert states(shown)[0] == "failed"


def test_what_another_request_wrote_there_is_not_a_run_of_the_sweep(page: tuple[SweepPage, list[Job]]) -> None:
    shown, jobs = page
    other = without(manifest("int8"), command=["recipe=int8", "seed=1", "gates.max_size_mb=1"], request_key="other")
    put(jobs[0].request().artifact, other)
    put(shown.runs[1].folders[3], without(manifest("int8", refused=True), command=["recipe=int8", "seed=2"]))
    odd = without(manifest("int8"), command=["recipe=int8", "seed=3"], agreement={"same": "much", "examples": 3})
    put(jobs[2].request().artifact, odd)
    shown.write()
    assert states(shown) == ["missing", "refused", "missing"]
    shown.note(jobs[0], Record(0))  # the very artifact that the run found to be its own, whatever words made it
    assert states(shown)[0] == "artifact"


def test_a_damaged_note_is_as_none(page: tuple[SweepPage, list[Job]]) -> None:
    shown, jobs = page
    shown.note(jobs[0], Record(1, "it fails"))
    note = next((shown.folder / "ended").iterdir())
    for text in ("{", '{"exit": 1}', "[]", '"x"'):
        note.write_text(text)
        shown.write()
        assert states(shown)[0] == "missing"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A sweep of three: a good one, one that a gate refuses, and one whose data is not there."""
    output = tmp_path_factory.mktemp("sweep")
    words = [word for word in settings("int8", output, *FAST[1:]) if not word.startswith("gates.")]
    words += [
        "data=demo,files",
        "data.dev=/no/such/file.csv",
        "gates.max_size_mb=null,0.01",
        "gates.max_metric_drop=null",
    ]
    return output, words


def test_one_that_fails_does_not_end_the_others(
    swept: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, words = swept
    assert main(["-m", *words]) == 3  # the refused one comes first
    shown = capsys.readouterr()
    assert "run 4 of 4" in shown.out and "/no/such/file.csv" in shown.err and "max_size_mb" in shown.err
    page = next((output / ".sweeps").glob("sweep-*/report.html"))
    runs = json.loads((page.parent / "runs.json").read_text())["runs"]
    assert [run["state"] for run in runs] == ["artifact", "refused", "failed", "failed"]
    assert page.read_text().count('<details class="run"') == 4
    assert (output / "int8" / "text-classification-demo" / "host,gates.max_size_mb=null" / "model.onnx").is_file()


def test_what_is_there_is_not_run_again(swept: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    output, words = swept
    made = sorted((output / "int8").rglob("model.onnx"))
    before = [file.stat().st_mtime_ns for file in made]
    assert main(["-m", *words, "--shard", "1/2"]) == 2  # its first and third run; the third has no data
    shown = capsys.readouterr()
    assert "artifact, was there" in shown.out and "run 2 of 2" in shown.out
    assert [file.stat().st_mtime_ns for file in made] == before
    assert main(["-m", *words, "--shard", "2/2"]) == 3
    assert "a gate has refused this very request before" in capsys.readouterr().err
    assert len(list((output / ".sweeps").iterdir())) == 1  # one page for all shards


def test_a_launcher_runs_the_sweep(swept: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    require_module("hydra_plugins.hydra_joblib_launcher", "pip install 'compressor[dev]'")
    output, words = swept
    good = [word for word in words if not word.startswith(("data=", "data.dev="))]
    assert main(["-m", *good, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]) == 3
    shown = capsys.readouterr()
    assert "done: " in shown.out and "artifact, was there" in shown.out
    assert "a gate has refused this very request before" in shown.err
