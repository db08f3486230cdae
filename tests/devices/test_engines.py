"""Files that a provider writes on this machine: where, for how long, and never one model's for another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compressor.config.device import DeviceProfile, Provider
from compressor.devices import child, emulator, engines, probe

CACHED = {"trt_fp16_enable": True, "trt_engine_cache_enable": True}


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Three files of one name; the first two are the same model."""
    paths = [tmp_path / name / "model.onnx" for name in ("first", "again", "other")]
    for path, text in zip(paths, ("a model", "a model", "another one"), strict=True):
        path.parent.mkdir()
        path.write_text(text)
    return paths


def test_engines_are_shared_by_one_models_rounds_and_by_no_other_model(models: list[Path]) -> None:
    first, again, other = (engines.local_options(engines.TENSORRT, CACHED, path, str) for path in models)
    assert first == again and first["trt_engine_cache_path"] != other["trt_engine_cache_path"]
    assert Path(first["trt_engine_cache_path"]).is_dir() and first.items() >= CACHED.items()


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        (engines.TENSORRT, {"trt_fp16_enable": True}),
        (engines.TENSORRT, {"trt_engine_cache_enable": False}),
        ("CUDAExecutionProvider", {"trt_engine_cache_enable": True, "device_id": 1}),
        (engines.TENSORRT, {**CACHED, "trt_engine_cache_path": "/somewhere"}),
    ],
)
def test_other_options_stay_as_the_profile_has_them(models: list[Path], provider: str, options: dict) -> None:
    assert engines.local_options(provider, options, models[0], str) == options


def test_a_path_of_the_profile_is_that_of_this_process(models, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {**CACHED, "trt_engine_cache_path": "engines"}
    found = engines.local_options(engines.TENSORRT, options, models[0], str)
    assert found["trt_engine_cache_path"] == str(tmp_path / "engines")


def test_engines_are_gone_when_the_process_is(models: list[Path]) -> None:
    program = (
        "from pathlib import Path\nfrom compressor.devices import engines\n"
        f"options = engines.local_options(engines.TENSORRT, {CACHED!r}, Path({str(models[0])!r}), str)\n"
        "folder = Path(options['trt_engine_cache_path'])\n(folder / 'an.engine').touch()\nprint(folder)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "" and not Path(done.stdout.strip()).parent.exists()


def test_what_a_probe_writes_by_a_relative_name_lies_in_the_requests_folder(models, tmp_path, monkeypatch) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(
        "import json, sys\nrequest = json.load(open(sys.argv[1]))\nopen('an.engine', 'w').close()\n"
        "answer = {'peak_memory_mb': None, 'baseline_memory_mb': None, 'providers': request['providers']}\n"
        "json.dump(answer, open('result.json', 'w'))\n"
    )
    monkeypatch.setattr(child, "PROBE", stand_in)
    place = child.LocalPlace(DeviceProfile(name="x", description="", providers=[Provider(name=engines.TENSORRT)]))
    request = {"mode": "memory", "model": str(models[0]), "providers": [[engines.TENSORRT, CACHED], [child.CPU, {}]]}
    with child.work_folder() as folder:
        answer = place.run_probe(request, folder, timeout_s=20)
        assert (folder / "an.engine").exists()
    assert "trt_engine_cache_path" in answer["providers"][0][1] and answer["providers"][1] == [child.CPU, {}]


def test_the_emulators_folder_is_the_same_from_everywhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert emulator.folder() == tmp_path / "cache" / "compressor" / "aarch64"


def test_booleans_are_written_as_tensorrt_reads_them() -> None:
    texts = probe.option_texts({**CACHED, "trt_dump_subgraphs": False, "device_id": 1, "trt_engine_cache_path": "/x"})
    assert texts == {
        "trt_fp16_enable": "True", "trt_engine_cache_enable": "True", "trt_dump_subgraphs": "False",
        "device_id": "1", "trt_engine_cache_path": "/x",
    }  # fmt: skip
