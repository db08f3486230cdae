"""Measuring over SSH, against a real server on loopback; nothing may be left on the "board" by any failure."""

import dataclasses
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.config.device import DeviceProfile, Identity, Provider
from compressor.config.run import MeasureSettings
from compressor.devices import child, host, measure, remote, ssh
from compressor.devices import place as places
from compressor.devices.board import Board
from compressor.devices.outputs import run_features
from compressor.devices.place import place_for
from compressor.errors import DataError, DeviceError, DeviceSetupError, RequestError, UnreachableError, WrongDeviceError
from compressor.graph.passes.search_lengths.latency import RemoteStopwatch
from compressor.tasks.base import Feature
from tests import sshd
from tests.require import missing

QUICK = MeasureSettings(warmup=0, runs=2, rounds=1)


def check_place(profile, **values):
    places.check_place(profile, MeasureSettings(**values))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd.running(tmp_path_factory.mktemp("board")) as started:
        yield started


@pytest.fixture
def board(server):
    """The profile of the "board"; what a test leaves there fails it."""
    server.know("host_key")
    yield DeviceProfile(
        name="loopback",
        description="this machine by ssh",
        providers=[Provider(name="CPUExecutionProvider")],
        identity=Identity(machine=[platform.machine()]),
        threads=1,
        memory_mb=4096.0,
        host=sshd.ADDRESS,
        python=sys.executable,
    )
    assert server.left_behind() == []


def rows(*lengths):
    return [
        Feature(inputs={"input_ids": list(range(1, length + 1)), "attention_mask": [1] * length}, labels={}, example=0)
        for length in lengths
    ]


def outputs_on(profile, graph, features, **options):
    with place_for(profile) as place:
        return run_features(graph, profile, features, place=place, **options)


def test_figures_of_a_board_are_the_devices_own(server, board, graph, inputs):
    speed = measure.measure_speed(graph, board, QUICK, inputs)
    assert speed.on_device and speed.measured_on.startswith(f"loopback ({host.board() or host.cpu_model()}")
    assert speed.p50_ms > 0 and speed.peak_memory_mb > speed.baseline_memory_mb > 5 and speed.threads == 1
    assert speed.fits_memory is True and speed.memory_limit_mb <= 3072
    assert speed.facts["machine"] == platform.machine() and speed.facts["onnxruntime"] == speed.onnxruntime
    names = (platform.node(), sshd.ADDRESS, str(server.folder))
    assert not any(name in str(speed.facts) for name in names if name)


def test_outputs_of_a_board_are_those_of_this_machine(board, graph):
    features = rows(5, 1, 9, 3)
    done = []
    there = outputs_on(board, graph, features, on_rows=done.append)
    for one, other in zip(there, run_features(graph, board, features), strict=True):
        np.testing.assert_array_equal(one["logits"], other["logits"])


def test_files_travel_once_and_over_one_connection(board, graph, inputs, monkeypatch):
    started, sent = [], []
    real_start, real_put = ssh.start, Board._put
    monkeypatch.setattr(ssh, "start", lambda *words: started.append(1) or real_start(*words))
    monkeypatch.setattr(Board, "_put", lambda self, name, *rest: sent.append(name) or real_put(self, name, *rest))
    with place_for(board):
        measure.measure_speed(graph, board, QUICK, inputs)
        measure.measure_speed(graph, dataclasses.replace(board, threads=2), QUICK, inputs)
    assert started == [1]
    assert len([name for name in sent if name.endswith(".onnx")]) == 1 and sent.count("probe.py") == 1


def test_a_board_with_much_more_memory_says_so(board):
    name, memory_mb = host.board() or host.cpu_model(), host.memory_mb()
    for expected_mb, shown in (
        (memory_mb, f"loopback ({name})"),
        (memory_mb / 2, f"loopback ({name}, {memory_mb} MiB)"),
    ):
        with place_for(dataclasses.replace(board, memory_mb=float(expected_mb))) as place:
            assert place.measured_on == shown and place.memory_mb == memory_mb
            assert "paths" not in place.facts


def test_length_configurations_are_timed_there_in_turn(board, graph):
    with place_for(board) as place:
        watch = RemoteStopwatch(graph, place, ["input_ids", "attention_mask"], layers=2, length=8, runs=1)
        assert watch.latency_ms([1.0, 1.0]) == watch.full_ms > 0
        assert watch.latency_ms([1.0, 0.5]) > 0


def test_threads_are_limited_by_the_boards_cores(board):
    with place_for(dataclasses.replace(board, threads=1000)) as place:
        assert place.placement()["threads"] == host.cores()


def test_login_scripts_may_print(server, board, graph):
    noisy = server.python("noisy", "echo welcome to the board")
    assert len(outputs_on(dataclasses.replace(board, python=str(noisy)), graph, rows(3))) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identity": Identity(machine=["riscv128"])}, "expected a processor of the kind riscv128, found"),
        ({"identity": Identity(cpu_flags=["telepathy"])}, "expected a processor with telepathy"),
        ({"identity": Identity(board_contains="Abacus")}, "expected a board named 'Abacus', found no board name"),
        (
            {"identity": Identity(machine=[platform.machine()], paths=["/proc", "/no/such/file"])},
            "there is no /no/such",
        ),
        ({"memory_mb": 1e7}, "expected 10000000 MiB of memory, found"),
        ({"identity": Identity()}, "its profile has no 'identity'"),
    ],
)
def test_a_wrong_board_is_an_error_that_says_both(board, change, words):
    with pytest.raises(WrongDeviceError, match=f"board is not loopback: {words}"):
        check_place(dataclasses.replace(board, **change))


def test_the_profile_of_this_machine_has_no_board(board):
    with pytest.raises(RequestError, match="device=host is the machine that this command runs on"):
        check_place(dataclasses.replace(board, name="host"))


def test_a_meter_log_is_looked_at_before_any_work(board, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("time;colour\n1;red\n")
    check_place(board)
    with pytest.raises(DataError, match="log.csv"):
        check_place(board, meter_log=str(log))


def test_unreachable_and_refused(server, board, monkeypatch):
    unresolved = "Could not resolve|Name or service|Temporary failure"
    for address, words in [("nobody@127.0.0.1", None), ("ssh://127.0.0.1:1", "Connection refused"),
                           ("no-such-board.invalid", unresolved)]:  # fmt: skip
        with pytest.raises(UnreachableError, match=words):
            check_place(dataclasses.replace(board, host=address))
    keys = server.folder / "authorized_keys"
    right = keys.read_text()
    keys.write_text((server.folder / "stranger_key.pub").read_text())
    try:
        with pytest.raises(UnreachableError, match=r"board refused the login \(.*Permission denied.*must work without"):
            check_place(board)
    finally:
        keys.write_text(right)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnreachableError, match="has no 'ssh' command"):
        check_place(board)


def test_a_host_key_that_changed_or_is_unknown_is_never_taken(server, board):
    server.know("other_host_key")
    with pytest.raises(UnreachableError, match="the host key of my-board is not the one in known_hosts"):
        check_place(board)
    server.know()
    with pytest.raises(UnreachableError, match="the host key of my-board is not known: log in once by 'ssh my-board'"):
        check_place(board)
    assert server.known_hosts.read_text() == ""


def test_no_python_an_old_python_and_missing_packages(server, board, tmp_path):
    def fails(python: object, words: str) -> None:
        with pytest.raises(DeviceSetupError, match=words):
            check_place(dataclasses.replace(board, python=str(python)))

    fails("/usr", r"'/usr' cannot be run on my-board \(.*ermission denied\): name a Python there by device.python=PATH")
    fails("/no/such/python", "board has no '/no/such/python': install Python 3.6")
    fails("no; echo such $(reboot) 'python'", "board has no")  # never read by a shell
    old = "import sys; sys.version_info = (3, 5, 2); exec(sys.argv.pop(1))"
    script = server.script(server.folder / "old", f"exec {sys.executable} -c '{old}' \"$2\"")
    fails(script, "is Python 3.5.2, and Python 3.6 or newer is needed")
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    fails(tmp_path / "bare/bin/python", "numpy is missing on my-board: run '.*bare/bin/python -m pip install numpy")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libhopeful.so: cannot open shared object')\n")
    broken = server.python("broken", f"export PYTHONPATH={tmp_path}")
    fails(broken, r"onnxruntime is missing on my-board \(libhopeful.so: cannot open")


def test_a_runtime_that_is_too_old_for_the_profile_or_the_file(board, graph, tmp_path, monkeypatch):
    with pytest.raises(DeviceSetupError, match="onnxruntime .* on my-board is too old: loopback needs 99.0 or newer"):
        check_place(dataclasses.replace(board, runtime_version="99.0"))
    with monkeypatch.context() as patch:  # a profile that names none gets graphs with MultiHeadAttention
        patch.setattr("compressor.config.runtime.OLDEST_ATTENTION", (98, 0))
        with pytest.raises(DeviceSetupError, match="loopback needs 98.0 or newer"):
            check_place(board)
        check_place(dataclasses.replace(board, runtime_version="1.10"))
    for change, name in ((lambda model: setattr(model, "ir_version", 99), "ir.onnx"),
                         (lambda model: setattr(model.opset_import[0], "version", 99), "opset.onnx")):  # fmt: skip
        model = onnx.load(str(graph))
        change(model)
        (tmp_path / name).write_bytes(model.SerializeToString())
        with pytest.raises(DeviceSetupError, match=f"onnxruntime on my-board is too old for {name}"):
            outputs_on(board, tmp_path / name, rows(3))


def test_a_runtime_without_the_profiles_first_provider(board):
    providers = [Provider(name="CUDAExecutionProvider"), Provider(name="CPUExecutionProvider")]
    with pytest.raises(DeviceSetupError, match="on my-board has no CUDAExecutionProvider .*install onnxruntime-gpu"):
        check_place(dataclasses.replace(board, providers=providers))


@pytest.fixture(scope="module")
def large(graph, tmp_path_factory):
    """A file of 3 MB."""
    model = onnx.load(str(graph))
    model.doc_string = "".join(chr(97 + (index * 7919) % 26) for index in range(3_000_000))
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_file_that_cannot_be_written_there(server, board, large):
    limited = server.python("limited", "ulimit -f 2000")
    with pytest.raises(DeviceError, match="the disk of my-board is full: 3.0 MB are needed, .* MB are free"):
        outputs_on(dataclasses.replace(board, python=str(limited)), large, rows(3))


def test_a_full_disk_there(server, board, graph, large):
    """A file system of 1 MB for the board's temporary files."""
    small = server.folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], capture_output=True)
    if mounted.returncode:
        missing("a file system of 1 MB cannot be mounted here (needs root); a limit on files is tested instead")
    elsewhere = server.script(
        server.folder / "elsewhere",
        f"cd $(mktemp -d {small}/compressor-XXXX)",
        "trap 'rm -rf \"$PWD\"' EXIT",
        f'{sys.executable} "$@"',
    )
    there = dataclasses.replace(board, python=str(elsewhere))
    try:
        with pytest.raises(DeviceError, match="the disk of my-board is full: 3.0 MB are needed, [01].. MB are free"):
            outputs_on(there, large, rows(3))
        with pytest.raises(DeviceError, match="the disk is full on my-board: the outputs of tiny.onnx"):
            outputs_on(there, graph, rows(*[55] * 1000))  # what the probe itself writes
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_models_make_room_for_one_another(board, graph, monkeypatch, tmp_path):
    """The second upload fails for want of room until the first file is gone."""
    real = Board._put

    def tight(self, name, path, content):
        full = name.endswith(".onnx") and any(key.endswith(".onnx") for key in self._sent)
        return {"error": "no room", "full": True, "free_mb": 0} if full else real(self, name, path, content)

    monkeypatch.setattr(Board, "_put", tight)
    other = tmp_path / "other.onnx"
    model = onnx.load(str(graph))
    model.doc_string = "other"
    other.write_bytes(model.SerializeToString())
    with place_for(board) as place:
        for path in (graph, other, graph):
            assert run_features(path, board, rows(2), place=place)


def probe_of(text, tmp_path, monkeypatch):
    """Another probe, which still says what the machine is."""
    path = tmp_path / "probe.py"
    path.write_text(
        "import json, os, subprocess, sys, time\n"
        "request = json.load(open(sys.argv[1]))\n"
        "if request['mode'] == 'facts':\n"
        f"    os.execv(sys.executable, [sys.executable, {str(child.PROBE)!r}, sys.argv[1]])\n" + text
    )
    monkeypatch.setattr(child, "PROBE", path)


def alive(marker: str) -> bool:
    return any(marker.encode() in path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path))


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_probe_that_hangs_is_killed_there_with_all_it_started(board, graph, tmp_path, monkeypatch):
    probe_of("subprocess.call(['sleep', '98765.25'])\n", tmp_path, monkeypatch)
    with pytest.raises(DeviceError, match="the measurement on my-board did not end within 1 s and was stopped"):
        outputs_on(board, graph, rows(3), timeout_s=1)
    assert not alive("98765.25")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("os.kill(os.getpid(), 9)\n", "on my-board was killed by signal 9, as a system does that runs out of memory"),
        ("os.kill(os.getpid(), 4)\n", "was killed by signal 4: a library there uses .* OPENBLAS_CORETYPE"),
        ("raise MemoryError\n", "(?s)last words: .*MemoryError"),
        ("open('result.json', 'w').write('{\"rows\": ')\n", "the answer .* on my-board is damaged"),
        ("open('result.json', 'w').write('[1]')\n", "the answer .* on my-board is damaged: 'providers' is not right"),
        ("open('result.json', 'w').write('{\"error\": \"std::bad_alloc\", \"out_of_memory\": true}')\n",
         "tiny.onnx ran out of memory on my-board: std::bad_alloc"),
    ],
)  # fmt: skip
def test_what_a_probe_may_leave(board, graph, tmp_path, monkeypatch, text, words):
    probe_of(text, tmp_path, monkeypatch)
    with pytest.raises(DeviceError, match=words):
        outputs_on(board, graph, rows(3))


def test_arm_boards_get_a_variable_that_they_do_not_set_themselves(server, board, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_ARM_64", {platform.machine()})
    report = (
        "json.dump({'peak_memory_mb': None, 'baseline_memory_mb': None, 'found': os.environ['OPENBLAS_CORETYPE']}, "
    )
    probe_of(report + "open(request['result'], 'w'))\n", tmp_path, monkeypatch)
    own = server.python("own", "export OPENBLAS_CORETYPE=ITSOWN")
    for python, found in ((board.python, "ARMV8"), (str(own), "ITSOWN")):
        with place_for(dataclasses.replace(board, python=python)) as place:
            assert place.run_probe({"mode": "memory", "model": str(graph)}, tmp_path, timeout_s=20)["found"] == found


def test_a_model_that_does_not_fit_and_is_then_killed_there_does_not_fit(board, graph, inputs, tmp_path, monkeypatch):
    (tmp_path / "real.py").write_text(child.PROBE.read_text())
    text = f"sys.path.insert(0, {str(tmp_path)!r})\nimport real\n"
    text += "real.limited = lambda request, limit: (False, 'rlimit_data', 'out of memory', None)\n"
    text += "real.peak = lambda request: os.kill(os.getpid(), 9)\n"
    probe_of(text + "sys.exit(real.main(sys.argv[1]))\n", tmp_path, monkeypatch)
    speed = measure.measure_speed(graph, board, QUICK, inputs)
    assert speed.fits_memory is False and speed.peak_memory_mb is None and speed.p50_ms > 0


def test_folders_that_a_power_cut_left_are_removed_at_the_next_visit(server, board):
    stays = ["compressor-of4users", "compressor-longer4name", "compressor-in4use4n"]
    for name in ["compressor-old4left", *stays]:
        (server.tmp / name).mkdir(mode=0o755 if name == "compressor-of4users" else 0o700)
        (server.tmp / name / "probe.py").touch()
        if name != "compressor-in4use4n":
            os.utime(server.tmp / name, (time.time() - 2 * 86400,) * 2)
    link = server.tmp / "compressor-a4link4x"
    link.symlink_to(server.tmp / "compressor-longer4name")
    try:
        check_place(board)
        assert not (server.tmp / "compressor-old4left").exists()
        assert link.is_symlink() and all((server.tmp / name / "probe.py").exists() for name in stays)
    finally:
        link.unlink()
        for name in stays:
            shutil.rmtree(server.tmp / name)


def test_a_connection_that_is_lost_midway_leaves_nothing_running(server, board, graph, tmp_path, monkeypatch):
    probe_of("subprocess.call(['sleep', '98765.75'])\n", tmp_path, monkeypatch)

    def cut():
        while not alive("98765.75"):
            time.sleep(0.05)
        server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(UnreachableError, match="the connection to my-board was lost midway"):
        outputs_on(board, graph, rows(3), timeout_s=60)
    cutter.join()
    assert server.left_behind() == []
    assert not alive("98765.75")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_here_leaves_nothing_there(server, board, graph, tmp_path, number):
    """Ctrl-C, and a process that is killed and can say no goodbye."""
    probe = tmp_path / "probe.py"
    probe.write_text("import subprocess\nsubprocess.call(['sleep', '98765.5'])\n")
    program = (
        "import signal\nfrom pathlib import Path\nfrom compressor.devices.board import connected\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs start without it
        f"with connected({sshd.ADDRESS!r}, {sys.executable!r}) as board:\n"
        f"    board.put('probe.py', Path({str(probe)!r}))\n"
        "    board.run({'result': 'r', 'progress': 'p'}, {}, {}, timeout_s=60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, env=dict(os.environ))
    while not alive("98765.5"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(20)
    assert server.left_behind() == []
    assert not alive("98765.5")


def test_an_agent_that_is_killed_leaves_no_folder(server, board, graph, tmp_path, monkeypatch):
    probe_of("os.kill(request['parent'], 9)\ntime.sleep(60)\n", tmp_path, monkeypatch)
    with pytest.raises(UnreachableError, match=r"lost midway \(the process there ended with exit code 137\)"):
        outputs_on(board, graph, rows(3))


def test_a_board_that_falls_silent(board, graph, monkeypatch):
    monkeypatch.setattr("compressor.devices.board.ANSWER_S", 0.5)
    with place_for(board) as place:
        monkeypatch.setattr(place.board, "_send", lambda *_: None)
        with pytest.raises(UnreachableError, match="board has not answered for"):
            place.board.clock_offset_s()
        monkeypatch.undo()


@pytest.mark.parametrize(("ping_s", "there"), [(1000.0, False), (0.2, True)])
def test_a_network_that_dies_without_a_word(server, board, tmp_path, monkeypatch, ping_s, there):
    """The board's end leaves after a silence, which pings break."""
    hasty = tmp_path / "agent.py"
    hasty.write_text(ssh.AGENT.read_text().replace("SILENCE_S = 120.0", "SILENCE_S = 1.0"))
    monkeypatch.setattr(ssh, "AGENT", hasty)
    monkeypatch.setattr("compressor.devices.board._PING_S", ping_s)
    connection = Board(sshd.ADDRESS, board.python)
    try:
        (name,) = server.left_behind(0)
        os.utime(server.tmp / name, (0, 0))
        time.sleep(3)
        assert len(server.left_behind(0)) == int(there)
        if there:
            assert (server.tmp / name).stat().st_mtime > 0  # a folder in use never looks left behind
            assert abs(connection.clock_offset_s()) < 1
        else:
            with pytest.raises(UnreachableError, match="had heard nothing from here"):
                connection.clock_offset_s()
    finally:
        connection.close()


def test_what_runs_on_boards_keeps_to_an_old_python():
    """Syntax, and every function and argument of the standard library."""
    checker = [sys.executable, "-c", "import vermin; vermin.main()", "-t=3.6-", "--no-tips", "--violations"]
    done = subprocess.run([*checker, str(ssh.AGENT), str(child.PROBE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    newer = subprocess.run([*checker, str(Path(__file__))], capture_output=True, text=True)
    assert newer.returncode == 1  # this very file does not


def test_a_missing_program_is_a_skip_or_a_failure(monkeypatch):
    monkeypatch.setenv("COMPRESSOR_TESTS_REQUIRE_ALL", "0")
    with pytest.raises(pytest.skip.Exception, match="apt install it"):
        missing("it is missing: apt install it")
    monkeypatch.setenv("COMPRESSOR_TESTS_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="may not be skipped"):
        missing("it is missing: apt install it")
