"""Runs found by their manifests, and the verb that makes a page of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

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
