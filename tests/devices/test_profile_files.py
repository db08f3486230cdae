"""Every profile that we ship: complete, in itself consistent, and for a runtime that reads our graphs."""

from pathlib import Path

import pytest

from compressor.config import opset, runtime
from compressor.config.device import DeviceProfile
from compressor.devices import profiles
from compressor.graph.passes.quantize import scheme
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.request import build

CONF = Path(__file__).parents[2] / "conf" / "device"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
STUDY = [f"{board}_{size}gb" for board in ("raspberry_pi_4", "jetson_nano", "up2", "udoo") for size in (2, 4)]
OTHERS = [
    "arm_server", "cuda_server", "host", "jetson", "jetson_orin_nano", "laptop_avx2", "raspberry_pi_4",
    "raspberry_pi_5", "x86_avx512", "x86_server",
]  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def profile(request: pytest.FixtureRequest) -> DeviceProfile:
    return profiles.load(request.param, [CONF])


def test_there_is_one_for_each_board_of_the_study_and_for_the_others() -> None:
    assert sorted(STUDY + OTHERS) == NAMES


def test_it_says_what_it_is_why_and_from_where(profile: DeviceProfile) -> None:
    text = (CONF / f"{profile.name}.yaml").read_text()
    assert f"\nname: {profile.name}\n" in f"\n{text}"
    assert "\ndescription: " in f"\n{text}", "the list of devices reads it from the file itself"
    assert len(profile.why) > 40 and profile.sources
    assert all(source.startswith("https://") for source in profile.sources)
    assert profile.identity.machine, "without it no machine is ever recognised as the device"


def test_memory_and_threads_are_those_of_the_name(profile: DeviceProfile) -> None:
    if profile.name.endswith("gb"):
        assert profile.memory_mb == 1024 * int(profile.name.rpartition("_")[2].removesuffix("gb"))
    if profile.name in STUDY:
        assert profile.threads is not None


def test_its_oldest_runtime_reads_what_is_written_for_it(profile: DeviceProfile) -> None:
    chosen = opset.choose_opset(None, profile)
    if profile.runtime_version is None:
        return
    read = runtime.reads(profile.runtime_version)
    assert read is not None
    assert profile.max_opset <= read[0] and profile.max_ir <= read[1], "the file says more than the runtime reads"
    assert chosen <= read[0] and opset.file_version(chosen) <= read[1]
    if profile.runtime_newest is not None:
        assert runtime.release(profile.runtime_version) <= runtime.release(profile.runtime_newest)


def test_its_first_provider_computes_in_its_number_format(profile: DeviceProfile) -> None:
    first, last = profile.providers[0].name, profile.providers[-1].name
    assert last == "CPUExecutionProvider", "what the others do not know must run somewhere"
    formats = {
        "CPUExecutionProvider": {"float32", "dynamic_int8", "static_int8"},
        "CUDAExecutionProvider": {"float32", "float16"},
        "TensorrtExecutionProvider": {"float32", "float16", "static_int8"},
    }
    assert profile.number_format in formats[first]
    if first == "TensorrtExecutionProvider":
        assert profile.activation_signed and profile.activation_symmetric and not profile.reduce_range


def test_full_weights_only_where_sums_of_bytes_do_not_saturate(profile: DeviceProfile) -> None:
    if profile.name == "host" or profile.providers[0].name != "CPUExecutionProvider":
        return
    identity = profile.identity
    widens = "aarch64" in identity.machine or "avx512_vnni" in identity.cpu_flags or "avx" in identity.cpu_lacks
    assert profile.reduce_range == (not widens)


def test_a_64_bit_arm_device_says_how_it_is_emulated(profile: DeviceProfile) -> None:
    if profile.name not in ("host", "cuda_server"):
        assert (profile.emulated_cpu is not None) == (profile.identity.machine == ["aarch64"])


def test_every_recipe_pass_has_an_answer(profile: DeviceProfile) -> None:
    assert scheme.resolve(QuantizeSettings(), profile).mode in ("dynamic", "static", "float16", "none")
    assert runtime.fuse_layout(profile, opset.choose_opset(None, profile)) in ("rows", "onnxruntime")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "host"])
def test_the_command_line_takes_it(name: str) -> None:
    request = build([f"device={name}", "recipe=minilm"])
    assert request.device == profiles.load(name, [CONF])
    assert request.artifact.name == name


def test_usual_names_keep_what_they_gave() -> None:
    """The mission's command says device=jetson; benchmarks say device=x86_avx512."""
    jetson = build(["device=jetson"])
    assert "Orin Nano 8 GB" in jetson.device.description and jetson.device.name == "jetson"
    assert (jetson.device.number_format, jetson.device.memory_mb, jetson.opset) == ("float16", 8192, 17)
    assert jetson.device.providers[0].options == {"trt_fp16_enable": True, "trt_engine_cache_enable": True}
    assert build(["device=x86_avx512"]).device.number_format == "dynamic_int8"
    assert build(["device=raspberry_pi_4"]).device.memory_mb == 4096
    assert build(["device=jetson_nano_2gb"]).opset == 15


def test_the_runtime_limits_the_operator_set() -> None:
    assert build(["device=host", "device.max_opset=20", "device.runtime_version='1.11'"]).opset == 16
    with pytest.raises(Exception, match=r"reads up to opset 16, as its ONNX Runtime may be 1\.11 \(device.runtime"):
        build(["device=host", "device.runtime_version='1.11'", "export.opset=17"])
    with pytest.raises(Exception, match=r"'host' may have ONNX Runtime 1\.4 .*graphs of ours need 1\.10 or newer"):
        build(["device=host", "device.runtime_version='1.4'"])
