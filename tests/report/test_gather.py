"""Runs found by their manifests, and the verb that makes a page of them."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from compressor.artifact.manifest import DepthSetting, Halves, Manifest, read
from compressor.cli import main
from compressor.report.gather import gather
from tests.report.made import manifest, put, without


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two machines' folders with an artifact each, one refused, and everything that can be wrong with a manifest."""
    here, there = tmp_path / "here", tmp_path / "there"
    put(here / "minilm" / "a" / "host", manifest())
    put(here / ".refused" / "int8" / "a" / "host", manifest("int8", metric=80.0, refused=True))
    put(here / ".cache" / "stage-1", manifest("cached"))
    put(there / "minilm" / "a" / "jetson", manifest(device="jetson_nano_4gb", on_device=False))
    bad = {
        "cut": '{"format": 1, "requ',
        "theirs": '{"name": "a web app"}',
        "newer": '{"format": 99, "request_key": "k"}',
    }
    for name, text in bad.items():
        (there / name).mkdir(parents=True)
        (there / name / "manifest.json").write_text(text)
    odd = without(manifest("odd"), agreement={"same": "much", "examples": 3})
    put(there / "odd", odd)
    return tmp_path


def test_everything_that_can_be_read_is_shown(runs: Path) -> None:
    found = gather([runs])
    states = {(entry.recipe, entry.device): entry.state for entry in found.entries}
    assert states == {
        ("minilm", "host"): "artifact",
        ("int8", "host"): "refused",
        ("minilm", "jetson_nano_4gb"): "artifact",
    }
    assert len(found.problems) == 4
    problems = "\n".join(found.problems)
    assert "cut/manifest.json is damaged" in problems and "was not written by compressor" in problems
    assert "has format 99" in problems and "odd/manifest.json is damaged" in problems
    refused = next(entry for entry in found.entries if entry.state == "refused")
    assert refused.reason == "max_metric_drop: 10, limit 1 points of accuracy"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"teacher": {"metrics": {"accuracy": "x"}}}, "TypeError"),
        ({"agreement": {"interval": [1]}}, "AttributeError"),
        ({"agreement": {"interval": {"difference": "x"}}}, "TypeError"),
        ({"metrics": {"accuracy": 1e308}}, "metric is 1e+308"),
        ({"agreement": {"interval": {"low": float("nan")}}}, "it has the number NaN"),
        ({"agreement": {"interval": {"high": float("-inf")}}}, "it has the number -Infinity"),
        ({"speed": {"artifact": {"round_p50_ms": ["a", "b"]}}}, "TypeError"),
    ],
    ids=str,
)
def test_a_manifest_with_an_odd_value_is_one_line_beside_the_others(
    tmp_path: Path, changed: dict, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "good", manifest())
    put(tmp_path / "odd", manifest("odd"))
    file = tmp_path / "odd" / "manifest.json"
    file.write_text(json.dumps(laid_over(json.loads(file.read_text()), changed)))
    assert main(["report", str(tmp_path), f"output={tmp_path / 'all.html'}"]) == 0
    shown = capsys.readouterr()
    assert "odd/manifest.json is damaged" in shown.err and said in shown.err
    assert len(json.loads((tmp_path / "runs.json").read_text())["runs"]) == 1


def laid_over(values: dict, changed: dict) -> dict:
    """Values with some of them, however deep, replaced."""
    return values | {
        key: laid_over(values[key], one) if isinstance(one, dict) and isinstance(values.get(key), dict) else one
        for key, one in changed.items()
    }


def test_a_copy_is_shown_once_and_twins_get_names(tmp_path: Path) -> None:
    one = manifest(seed=1)
    put(tmp_path / "a", one)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    put(tmp_path / "b", manifest(seed=2, metric=87.0))
    put(tmp_path / "c", without(manifest(seed=3), command=manifest(seed=2).command))
    names = [entry.name for entry in gather([tmp_path]).entries]
    assert names == ["minilm seed=1", f"minilm ({tmp_path / 'b'})", f"minilm ({tmp_path / 'c'})"]


def test_the_verb_writes_page_and_tables(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pages" / "all.html"
    assert main(["report", str(runs / "here"), str(runs / "there"), f"output={file}"]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("error: ") == 4 and "jetson_nano_4gb" in shown.out
    assert file.read_text().count('<details class="run"') == 3 and "has format 99" in file.read_text()
    data = json.loads((file.parent / "runs.json").read_text())
    assert len(data["runs"]) == 3 and len(data["not_shown"]) == 4
    there = next(run for run in data["runs"] if run["device"] == "jetson_nano_4gb")
    assert there["figures"]["p50_ms"] == {
        "value": 5.0,
        "origin": "host",
        "where": "this machine (a processor), not jetson",
    }
    lines = list(csv.DictReader((file.parent / "runs.csv").open()))
    assert [line["measured"] for line in lines] == ["on the device", "on the device", "other machine"] or len(
        lines
    ) == 3
    assert lines[0]["p50_ms"] == "5" and lines[0]["command"].startswith("recipe=")


WRONG = [
    (["report"], "error: report needs the folders of runs"),
    (["report", "nowhere"], "nowhere does not exist: give folders that hold the manifests of runs."),
    (["report", "."], "error: no run was found under .: give folders that hold manifest.json files of runs."),
    (["report", ".", "outptu=x.html"], "error: unknown key 'outptu' in report: did you mean 'output'?"),
    (["report", ".", "output=x.pdf"], "error: output=x.pdf is no page"),
    (["report", ".", "-m"], "error: --multirun means nothing to report."),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_requests(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_only_damage_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    assert main(["report", str(tmp_path), f"output={tmp_path / 'out' / 'x.html'}"]) == 2
    shown = capsys.readouterr().err
    assert "was not written by compressor" in shown and "no run was found" in shown
    assert not (tmp_path / "out").exists()


def test_the_page_of_an_artifact_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "a", manifest())
    assert main(["report", str(tmp_path), f"output={tmp_path / 'a' / 'report.html'}"]) == 2
    assert "holds a run of its own" in capsys.readouterr().err


NEWER = [
    (), ("measurements", 0), ("stages", 1), ("dial",), ("dial", "settings", 0), ("dial", "examples", 0), ("depth",),
    ("depth", "early", 0), ("depth", "late", 0), ("depth", "settings", 0), ("halves",),
]  # fmt: skip


@pytest.mark.parametrize("place", NEWER, ids=str)
def test_a_manifest_with_entries_of_a_newer_version_is_shown(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    made = manifest()
    assert made.depth is not None
    depth = dataclasses.replace(made.depth, settings=[DepthSetting(setting=2.0, metric=88.0, mean_blocks=3.1)])
    halves = Halves(layers=3, of_layers=6, separator=102, first_tokens=30, max_abs=0.0, same=1.0, examples=9)
    put(tmp_path / "a", without(made, depth=depth, halves=halves))
    file = tmp_path / "a" / "manifest.json"
    values = part = json.loads(file.read_text())
    for key in place:
        part = part[key]
    part["surprise"] = [1]
    file.write_text(json.dumps(values))

    assert main(["report", str(tmp_path), f"output={tmp_path / 'all.html'}"]) == 0
    assert read(tmp_path / "a") == dataclasses.replace(made, depth=depth, halves=halves)


def test_a_manifest_under_another_name_is_read_itself(tmp_path: Path) -> None:
    put(tmp_path, manifest("minilm"))
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.json").write_text(manifest("int8", seed=seed).to_json())

    found = gather([tmp_path / "one.json", tmp_path / "two.json"])

    assert [entry.recipe for entry in found.entries] == ["int8", "int8"]
    assert [entry.folder for entry in found.entries] == [str(tmp_path / "one.json"), str(tmp_path / "two.json")]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "good", manifest())
    put(tmp_path / "locked", manifest("int8"))
    real = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = gather([tmp_path])

    assert [entry.recipe for entry in found.entries] == ["minilm"]
    assert found.problems == [f"{tmp_path / 'locked'} cannot be read: Permission denied."]


def on(machine: str, recipe: str = "minilm", device: str = "host", *, on_device: bool = True) -> Manifest:
    """A run whose figures were taken on a machine of that name."""
    made = manifest(recipe, device, on_device=on_device)
    where = f"{device} ({machine})" if on_device else f"this machine ({machine}), not {device}"
    artifact = {**made.speed["artifact"], "measured_on": where}
    return without(made, host={"cpu": machine}, speed={**made.speed, "artifact": artifact})


def test_devices_of_one_name_on_several_machines_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [on("a laptop"), on("a server"), on("a server", "int8", "jetson", on_device=False),
            on("Orin Nano", "int8", "jetson"), on("a Pi", "int8", "raspberry_pi_4")]  # fmt: skip
    for place, one in enumerate(made):
        put(tmp_path / str(place), one)
    assert main(["report", str(tmp_path), f"output={tmp_path / 'all.html'}"]) == 0

    lines = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [line["device"] for line in lines] == [
        "host (a laptop)", "host (a server)", "jetson (measured on a server)", "jetson (Orin Nano)", "raspberry_pi_4",
    ]  # fmt: skip
    assert [line["measured_on"] for line in lines] == [
        "host (a laptop)", "host (a server)", "this machine (a server), not jetson", "jetson (Orin Nano)",
        "raspberry_pi_4 (a Pi)",
    ]  # fmt: skip
    assert [line["name"] for line in lines] == ["minilm", "minilm", "int8", "int8", "int8"]
    assert "host (a laptop)" in capsys.readouterr().out and "host (a laptop)" in (tmp_path / "all.html").read_text()


def test_held_out_parts_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Their metrics cannot be compared: the page opens with what was lost against the teacher."""
    for place, dev in enumerate(("a" * 64, "a" * 64, "b" * 64)):
        put(tmp_path / str(place), without(manifest(seed=place), data={"name": "mine", "fingerprints": {"dev": dev}}))
    put(tmp_path / "other", manifest(data="another"))
    entries = gather([tmp_path]).entries

    assert [entry.data for entry in entries] == ["mine (aaaaaa)", "mine (aaaaaa)", "mine (bbbbbb)", "another"]
    assert [entry.data for entry in gather([tmp_path / "0", tmp_path / "1"]).entries] == ["mine", "mine"]


def test_what_does_not_fit_the_devices_memory_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, fits, peak in (("small", True, 300.0), ("large", False, 1900.0), ("killed", False, None)):
        made = manifest(name)
        artifact = {**made.speed["artifact"], "fits_memory": fits, "peak_memory_mb": peak}
        put(tmp_path / name, without(made, speed={**made.speed, "artifact": artifact}))
    put(tmp_path / "untried", manifest("untried"))
    assert main(["report", str(tmp_path), f"output={tmp_path / 'all.html'}"]) == 0

    lines = {line["name"]: line for line in csv.DictReader((tmp_path / "runs.csv").open())}
    assert {name: line["fits_memory"] for name, line in lines.items()} == {
        "small": "yes", "large": "no", "killed": "no", "untried": "",
    }  # fmt: skip
    page = (tmp_path / "all.html").read_text()
    assert page.count('<small class="warn">does not fit</small>') == 2
    assert page.count('"fits":false') == 2 and "1900 does not fit" in capsys.readouterr().out
