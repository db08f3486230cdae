"""The verbs `describe` and `emulator`: what they say, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compressor import describe
from compressor.cli import main
from compressor.devices import host, profiles

CONF = Path(__file__).parents[1] / "conf" / "device"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_board_with_an_old_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "describe", "jetson_nano_2gb")
    for words in (
        "jetson_nano_2gb: NVIDIA Jetson Nano 2GB Developer Kit", "This machine is none: expected", "1.10 to 1.11",
        "Python 3.6 or newer", "CUDAExecutionProvider, CPUExecutionProvider", "operator set 15 in ONNX file version 8",
        "2048 MiB 1536 MiB are left to a process", "cortex-a57", "quantize float16", "layout onnxruntime",
        "4 bits refused 4 bits need ONNX Runtime 1.17", "why: The Maxwell GPU", "https://elinux.org/Jetson_Zoo",
    ):  # fmt: skip
        assert words in text, words


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "describe", "host")
    assert f"This machine is one ({host.cpu_model()}): gates on speed are judged here." in text
    assert "probed" in text and f"{host.cores()} cores that we may use" in text
    for name, size_kb in host.caches().items():
        assert f"{name} {size_kb} KiB" in text


def test_caches_as_linux_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "32K"), ("1", "Instruction", "48K"), ("2", "Unified", "1024K")]
    ):
        place = tmp_path / f"index{index}"
        place.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (place / name).write_text(f"{value}\n")
    (tmp_path / "index3").mkdir()
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    assert host.caches() == {"L1d": 32, "L1i": 48, "L2": 1024}


def test_changed_settings_and_own_profiles_and_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "recipe").mkdir()
    (tmp_path / "device" / "mine.yaml").write_text("like: raspberry_pi_4_2gb\ndescription: mine\nmax_opset: 15\n")
    (tmp_path / "recipe" / "new.yaml").write_text("description: x\nexport: {opset: 17}\npasses: {fuse: }\n")
    (tmp_path / "recipe" / "odd.yaml").write_text("description: x\nexport: {opset: 99}\n")
    text = said(capsys, "describe", "mine", "--config-dir", str(tmp_path), "device.threads=3")
    assert "mine: mine" in text and "threads 3" in text and "layout onnxruntime" in text
    assert "recipe new refused export.opset = 17 is not possible: the device 'mine' reads up to" in text
    assert "recipe odd" not in text, "it is refused for any device"


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_profile_has_something_to_say(file: Path) -> None:
    profile = profiles.load(file.stem, [CONF])
    lines = [*describe.decisions(profile), *describe.consequences(profile, [])]
    assert len({name for name, _, _ in lines}) == len(lines) >= 10
    assert describe.this_machine(profile).endswith("judged here." if file.stem == "host" else "judged.") or (
        "This machine is one" in describe.this_machine(profile)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["describe"], "describe needs one device"),
        (["describe", "a", "b"], "describe needs one device"),
        (["describe", "jetsn"], "unknown device 'jetsn': did you mean 'jetson'?"),
        (["describe", "qantize"], "unknown device, stage, pass or recipe 'qantize': did you mean 'quantize'?"),
        (["describe", "distill", "device.threads=1"], "'device.threads=1' means nothing to describe distill"),
        (["describe", "jetson", "seed=1"], "'seed=1' means nothing to describe: it takes device.KEY=VALUE."),
        (["describe", "jetson", "device.threds=1"], "unknown key 'threds'"),
        (["describe", "jetson", "--all"], "--all means nothing to describe."),
        (["emulator"], "unknown emulator '(nothing)': choose from: install, remove, show."),
        (["emulator", "instal"], "unknown emulator 'instal': did you mean 'install'?"),
        (["emulator", "install", "onnxruntime=1.17"], "give a whole version, such as 1.17.0."),
        (["emulator", "install", "onxruntime=1"], "unknown key 'onxruntime' in emulator: did you mean 'onnxruntime'"),
    ],
)  # fmt: skip
def test_what_is_not_understood(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_an_emulator_that_is_not_there(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["emulator", "show"]) == 4
    assert "run `python -m compressor emulator install`" in capsys.readouterr().err
    assert main(["emulator", "remove"]) == 0


@pytest.mark.parametrize("name", ["jetson", "adaptive_depth", "qualact"])
def test_describe_is_light(name: str) -> None:
    code = (
        f"import sys; from compressor.cli import main; main(['describe', '{name}']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
