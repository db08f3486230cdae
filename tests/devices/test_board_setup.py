"""What a board must have, told from its facts before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.config.device import DeviceProfile
from compressor.devices import board_setup, profiles, remote
from compressor.errors import DeviceSetupError

CONF = Path(__file__).parents[2] / "conf" / "device"
FACTS: dict[str, Any] = {
    "bits": 64, "numpy": "1.19.5", "onnxruntime": "1.18.0",
    "providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}  # fmt: skip


@pytest.fixture(scope="module")
def jetson() -> DeviceProfile:
    return profiles.load("jetson", [CONF])


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"bits": 32}, "'python3' on board is a 32-bit Python under a 64-bit kernel, and jetson is a 64-bit device"),
        ({"bits": 32, "numpy": None}, "32-bit Python"),
        ({"numpy": None}, "numpy is missing on board"),
        ({"onnxruntime": "1.17.9"}, "is too old: jetson needs 1.18 or newer"),
        ({"providers": ["CPUExecutionProvider"]},
         r"1\.18\.0 on board has no TensorrtExecutionProvider \(it has CPUExecutionProvider\): .*pip install "
         r"onnxruntime-gpu.* the vendor's wheel on a board"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_sentence(jetson: DeviceProfile, facts: dict[str, Any], words: str) -> None:
    board_setup.require(jetson, "board", "python3", FACTS)
    with pytest.raises(DeviceSetupError, match=words):
        board_setup.require(jetson, "board", "python3", {**FACTS, **facts})


def test_a_32_bit_python_is_right_on_a_32_bit_device() -> None:
    values = {
        "name": "pi",
        "description": "",
        "providers": ["CPUExecutionProvider"],
        "identity": {"machine": ["armv7l"]},
    }
    board_setup.require(profiles.resolve(values, where="test"), "board", "python3", {**FACTS, "bits": 32})


@pytest.mark.parametrize(("name", "arm"), [("jetson_nano_2gb", True), ("up2_2gb", False), ("cuda_server", False)])
def test_openblas_is_told_the_kind_of_arm_cores_alone(name: str, arm: bool) -> None:
    found = remote.environment_for(profiles.load(name, [CONF]))
    assert found == ({"OPENBLAS_CORETYPE": "ARMV8"} if arm else {})
