import platform
from pathlib import Path

import pytest

from compressor import describe
from compressor.devices import host, identity, profiles
from compressor.errors import RequestError, UnknownNameError
from compressor.processor import cpu_flags
from compressor.request import build

CONF = Path(__file__).parents[2] / "conf" / "device"


@pytest.mark.parametrize("name", ["jetson", "raspberry_pi_4", "x86_avx512", "host"])
def test_shipped_profiles_load_and_say_why(name):
    profile = profiles.load(name, [CONF])
    assert profile.name == name
    assert profile.providers and profile.why and profile.sources
    assert profile.dial == "optional"


def test_jetson_gets_float16_on_tensorrt_and_cuda():
    profile = profiles.load("jetson", [CONF])
    assert profile.number_format == "float16"
    assert [provider.name for provider in profile.providers] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert profile.activation_signed and profile.activation_symmetric  # for number_format=static_int8
    assert not identity.is_this_machine(profile)
    assert identity.measured_on(profile) == f"this machine ({host.cpu_model()}), not jetson"


def test_host_is_this_machine_and_knows_its_cores():
    profile = profiles.load("host", [CONF])
    assert identity.is_this_machine(profile)
    assert profile.threads == host.cores()
    assert profile.number_format == profiles.number_format_for(platform.machine(), cpu_flags())[0]
    assert identity.measured_on(profile) == f"host ({host.cpu_model()})"


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, ("dynamic_int8", False)),
        ("x86_64", {"avx2", "avx_vnni"}, ("dynamic_int8", False)),
        ("x86_64", {"avx2"}, ("dynamic_int8", True)),
        ("x86_64", {"sse4_1", "sse4_2"}, ("dynamic_int8", False)),
        ("x86_64", {"sse2"}, ("float32", False)),
        ("aarch64", {"asimd"}, ("dynamic_int8", False)),
    ],
)
def test_number_format_follows_the_instruction_sets(machine, flags, expected):
    assert profiles.number_format_for(machine, frozenset(flags))[:2] == expected


def test_unknown_device_names_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown device 'jetsn': did you mean 'jetson'"):
        profiles.load("jetsn", [CONF])


def test_a_users_folder_comes_first(tmp_path):
    (tmp_path / "jetson.yaml").write_text(
        "description: mine\nproviders: [CPUExecutionProvider]\nidentity: {board_contains: null}\n"
    )
    assert profiles.load("jetson", [tmp_path, CONF]).description == "mine"
    assert set(profiles.available([tmp_path, CONF, tmp_path / "none"])) >= {"jetson", "host"}


def write(folder: Path, **profiles: str) -> None:
    for name, text in profiles.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_profile_that_is_like_another_has_its_lines_and_its_own(tmp_path):
    write(
        tmp_path,
        mine="like: middle\nthreads: 1\nidentity: {board_contains: null}\nproviders: [CUDAExecutionProvider]\n",
        middle="like: raspberry_pi_4\nmemory_mb: 1024\n",
    )
    ours, mine = profiles.load("raspberry_pi_4", [CONF]), profiles.load("mine", [tmp_path, CONF])
    assert (mine.name, mine.threads, mine.memory_mb, mine.why) == ("mine", 1, 1024, ours.why)
    assert mine.identity.machine == ["aarch64"] and mine.identity.board_contains is None
    assert [provider.name for provider in mine.providers] == ["CUDAExecutionProvider"]
    (tmp_path / "device").mkdir()
    write(tmp_path / "device", mine="like: jetson\nthreads: 3\n")
    request = build(["device=mine", "device.memory_mb=99"], config_dirs=[str(tmp_path)])
    assert (request.device.name, request.device.threads, request.device.memory_mb) == ("mine", 3, 99)
    assert request.device.number_format == "float16"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"mine": "like: mine\n"}, r"mine.yaml: 'like' goes round in a circle: mine -> mine\."),
        ({"mine": "like: b\n", "b": "like: c\n", "c": "like: b\n"}, "in a circle: mine -> b -> c -> b"),
        ({"mine": "like: jetsn\n"}, r"unknown device 'jetsn' in .*mine.yaml: like: did you mean 'jetson'"),
        ({"mine": "like: [a]\n"}, r"'like' = \['a'\] is not possible: give the name of a profile"),
    ],
)
def test_a_bad_likeness_is_one_clear_error(tmp_path, files, message):
    (tmp_path / "device").mkdir()
    write(tmp_path / "device", **files)
    with pytest.raises(RequestError, match=message):
        profiles.load("mine", [tmp_path / "device", CONF])
    with pytest.raises(RequestError, match=message):
        build(["device=mine"], config_dirs=[str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: x\nproviders: []\n", "'providers' is empty"),
        ("- a list\n", "a device profile is a mapping of settings, this is list"),
        ("a: [", "not a readable device profile"),
        ("description: x\nproviders: [CPUExecutionProvider]\nthreds: 2\n", "did you mean 'threads'"),
        ("description: x\nproviders: [CPUExecutionProvider]\nthreads: two\n", "'threads' = 'two' is not possible"),
        ("description: x\nproviders: [{nam: A}]\n", "unknown key 'nam' in .*providers.0: did you mean 'name'"),
        ("description: x\nproviders: [3]\n", "providers.0 = 3 is not possible"),
    ],
)
def test_bad_profiles_are_one_clear_error(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        profiles.load("mine", [tmp_path])


def test_a_profile_without_identity_is_never_this_machine():
    profile = profiles.resolve({"name": "x", "description": "x", "providers": ["CPUExecutionProvider"]}, where="test")
    assert not identity.is_this_machine(profile)
    assert profiles.with_threads(profile, 3).threads == 3


@pytest.mark.parametrize(
    "lines",
    [
        {"machine": ["vax"]},
        {"cpu_contains": ["No Such Processor"]},
        {"cpu_flags": ["no_such_flag"]},
        {"cpu_lacks": sorted(cpu_flags())[:1]},
        {"board_contains": "No Such Board"},
        {"paths": ["/no/such/file"]},
    ],
)
def test_every_line_of_an_identity_must_hold(lines):
    here = {"machine": [platform.machine()]}
    values = {"name": "x", "description": "x", "providers": ["CPUExecutionProvider"]}
    assert identity.is_this_machine(profiles.resolve({**values, "identity": here}, where="test"))
    assert not identity.is_this_machine(profiles.resolve({**values, "identity": {**here, **lines}}, where="test"))


PI = {"machine": "aarch64", "cpu": "Raspberry Pi 4 Model B Rev 1.4", "flags": ["asimd"],
      "board": "Raspberry Pi 4 Model B Rev 1.4", "paths": []}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "memory_mb", "difference", "shown"),
    [
        ("raspberry_pi_4_4gb", 3792, None, "raspberry_pi_4_4gb (Raspberry Pi 4 Model B Rev 1.4)"),
        ("raspberry_pi_4_4gb", 1848, "expected 4096 MiB of memory, found 1848 MiB", None),
        ("raspberry_pi_4_2gb", 7812, None, "raspberry_pi_4_2gb (Raspberry Pi 4 Model B Rev 1.4, 7812 MiB)"),
        ("raspberry_pi_4_2gb", None, None, "raspberry_pi_4_2gb (Raspberry Pi 4 Model B Rev 1.4)"),
    ],
)
def test_boards_of_one_name_are_told_by_their_memory(name, memory_mb, difference, shown):
    profile, facts = profiles.load(name, [CONF]), {**PI, "memory_mb": memory_mb}
    assert identity.mismatch(profile, facts) == difference
    if shown:
        assert identity.named(profile, facts) == shown


def test_memory_is_compared_without_a_boards_name_and_here_too(monkeypatch):
    values = {"name": "x", "description": "x", "providers": ["CPUExecutionProvider"], "memory_mb": 4096.0}
    profile = profiles.resolve({**values, "identity": {"machine": [platform.machine()]}}, where="test")
    name = host.board() or host.cpu_model()
    for memory_mb, measured_on in (
        (1848, f"this machine ({host.cpu_model()}), not x"),
        (3792, f"x ({name})"),
        (7812, f"x ({name}, 7812 MiB)"),
    ):
        monkeypatch.setattr(host, "memory_mb", lambda found=memory_mb: found)
        assert identity.measured_on(profile) == measured_on
    monkeypatch.setattr(host, "memory_mb", lambda: 1848)
    assert "none: expected 4096 MiB of memory, found 1848 MiB." in describe.this_machine(profile)


def test_a_path_that_is_not_there_is_what_tells_a_machine_apart():
    profile = profiles.load("cuda_server", [CONF])
    facts = {"machine": "x86_64", "cpu": "", "flags": [], "board": None, "memory_mb": 9999}
    assert identity.mismatch(profile, {**facts, "paths": []}) == "there is no /dev/nvidia0"
    assert identity.mismatch(profile, {**facts, "paths": ["/dev/nvidia0"]}) is None


def test_description_of_the_machine_names_neither_host_nor_folders():
    found = host.describe()
    assert found["cores"] >= 1 and found["cpu"] and found["libraries"]["onnxruntime"]
    assert platform.node() not in str(found).split()
    assert str(Path.home()) not in str(found)


def test_cores_and_memory_are_bounded_by_a_container(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{64 * 2**20}\n")
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    assert host.cores() == 1
    assert host.memory_mb() == 64


def test_profiles_are_light():
    import subprocess
    import sys

    code = "import sys; import compressor.devices.profiles; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
