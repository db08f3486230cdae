"""Stand-alone probe: runs one ONNX file as told and reports speed, memory, energy or outputs; or what machine it is on.

It is copied to devices as it is, so it keeps to Python 3.6 and needs only numpy and onnxruntime.

    python probe.py request.json

The request names its files relative to its own folder. Keys:
    mode        "speed", "turns", "memory", "energy", "outputs"; "tokenize", "facts" (neither needs model nor inputs)
    model       the ONNX file
    inputs      an .npz; speed, turns, memory, energy: "<i>/<input name>" arrays [batch, length], sets taken in turn;
                outputs: "lengths" [rows] and one flat integer array per input name, the rows one after the other
    result      JSON file to write: the measurements, or {"error": ...}
    providers   [[name, options], ...] in order of preference; the first one must really be used
    threads     of one operator; cpus: logical CPUs to stay on (optional)
    keep        length configuration [layers], if any
    warmup, runs                                  speed, turns
    keeps       turns: several length configurations
    tokenizer, texts, max_length                  tokenize: tokenizer.json, a JSON list of [text or words, text or null]
    paths       facts: files of which those that are there are named (optional)
    limit_mb    memory: also try whether the run fits into this much (optional)
    meter, seconds, idle_seconds                  energy: "rapl", "ina3221" or "external", how long to run and to rest
    batch_size, pad, token_outputs, outputs       outputs: rows a batch, padding value by input name, names of the
                outputs that have one entry a token (absent: told from the graph's axis names), .npz to write
    progress    file that receives the number of finished rows (optional)
    parent      process id; when it ends, so does this one (optional)
    root        folder that stands for / where the system's own files are read (tests; optional)
"""

import ctypes
import glob
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

try:
    import numpy as np
except ImportError:  # "facts" says so
    np = None  # type: ignore[assignment]

Arrays = Dict[str, Any]
KEEP = "keep"
BLOCKS_RUN = "blocks_run"


class ProbeError(Exception):
    """Something that the caller must be told in one sentence."""


class MeterError(ProbeError):
    """A power meter is not there, or cannot be read."""


def main(path: str) -> int:
    """Answer one request; returns the exit code."""
    folder = os.path.dirname(os.path.abspath(path))
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    for key in ("model", "inputs", "result", "outputs", "progress", "tokenizer", "texts"):
        if request.get(key):
            request[key] = os.path.join(folder, request[key])
    try:
        settle(request)
        if np is None and request["mode"] != "facts":
            raise ProbeError("numpy is missing")
        answer = MODES[request["mode"]](request)
        code = 0
    except ProbeError as error:
        answer, code = {"error": str(error)}, 3
    except Exception as error:  # the caller sees only this file: say all that is known
        traceback.print_exc()
        answer, code = {"error": "{}: {}".format(type(error).__name__, str(error).strip())}, 3
    if "error" in answer:
        answer["out_of_memory"] = ran_out(str(answer["error"]))
    write_answer(request, answer)
    return code


def write_answer(request: Dict[str, Any], answer: Dict[str, Any]) -> None:
    """Write the result whole, or not at all; what stood there goes."""
    temporary = request["result"] + ".part"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(temporary, request["result"])


def settle(request: Dict[str, Any]) -> None:
    """End with the parent, stay on the CPUs that were given, and below the limit of memory."""
    if request.get("parent") and sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        except (OSError, AttributeError):
            pass
        if os.getppid() != request["parent"]:
            raise ProbeError("the process that asked for this measurement has ended")
    if request.get("cpus") and hasattr(os, "sched_setaffinity"):
        for thread in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ["0"]:
            os.sched_setaffinity(int(thread), request["cpus"])  # those of numpy's library too, which run already
    if request.get("under"):
        hold(request["under"], int(request["limit_bytes"]), root_of(request))
        with open(request["result"] + BEGUN, "w", encoding="utf-8"):
            pass


def root_of(request: Dict[str, Any]) -> str:
    """The folder that stands for /."""
    return str(request.get("root") or "/")


def below(root: str, path: str) -> str:
    """Where an absolute path lies below the folder that stands for /."""
    return os.path.join(root, path.lstrip("/"))


def text_of(*parts: str) -> str:
    """A file's text without spaces and zeros around it; empty where it cannot be read."""
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read().strip(" \t\r\n\0")
    except OSError:
        return ""


def open_session(request: Dict[str, Any], profile: str = "") -> Any:
    """Load the model; a provider other than the first one asked for is an error, never a silent fall-back."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request.get("threads") or 0)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    asked = [(name, option_texts(extra)) for name, extra in request["providers"]]
    required = asked[0][0]
    if required not in onnxruntime.get_available_providers():
        raise ProbeError(
            "{} is not in this onnxruntime {} (it has {})".format(
                required, onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers())
            )
        )
    known = [entry for entry in asked if entry[0] in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(
        request["model"], options, providers=[name for name, _ in known], provider_options=[extra for _, extra in known]
    )
    if required not in session.get_providers():
        raise ProbeError(
            "{} was asked for, but the model runs on {}".format(required, ", ".join(session.get_providers()))
        )
    return session


def option_texts(extra: Dict[str, Any]) -> Dict[str, str]:
    """Provider options as the strings that they are; of booleans TensorRT takes True and False, and not 1 and 0."""
    return {key: str(value) for key, value in extra.items()}


def dtypes(session: Any) -> Dict[str, Any]:
    """Number type of every input that can be fed, optional ones included."""
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32,
             "tensor(float16)": np.float16, "tensor(bool)": np.bool_}  # fmt: skip
    nodes = list(session.get_inputs()) + list(session.get_overridable_initializers())
    return {node.name: kinds.get(node.type, np.float32) for node in nodes}


def feed_for(session: Any, arrays: Arrays, keep: Optional[List[float]]) -> Arrays:
    """What the graph takes of `arrays`, in its number types; what it needs and nobody gave is an error."""
    types = dtypes(session)
    feed = {name: np.ascontiguousarray(value, dtype=types[name]) for name, value in arrays.items() if name in types}
    if keep is not None:
        if KEEP not in types:
            raise ProbeError("the graph has no input 'keep', so no length configuration can be given")
        feed[KEEP] = np.asarray(keep, dtype=types[KEEP])
    for node in session.get_inputs():
        if node.name in feed:
            continue
        if node.name == "token_type_ids" and "input_ids" in feed:
            feed[node.name] = np.zeros(feed["input_ids"].shape, types[node.name])
        else:
            raise ProbeError("the graph needs the input '{}', which was not given".format(node.name))
    return feed


def input_sets(request: Dict[str, Any]) -> List[Arrays]:
    """The input sets of a speed request, in order."""
    sets = {}  # type: Dict[int, Arrays]
    with np.load(request["inputs"], allow_pickle=False) as archive:
        for key in archive.files:
            index, _, name = key.partition("/")
            sets.setdefault(int(index), {})[name] = archive[key]
    if not sets:
        raise ProbeError("there is no input to measure with")
    return [sets[index] for index in sorted(sets)]


def peak_memory_mb() -> Optional[float]:
    """Largest resident memory of this process so far in MiB (VmHWM); None where /proc is missing."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024.0
    except OSError:
        pass
    return None


def used(session: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """What was really used: providers, threads, CPUs, library versions."""
    import onnxruntime

    return {
        "providers": list(session.get_providers()),
        "threads": int(request.get("threads") or 0),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
    }


YARDSTICK = (384, 3, 25, 0.1)  # width of its matrices, products at least and at most, seconds after which it ends


def yardstick_ms() -> float:
    """Median time of one and the same product of two float32 matrices: how fast the processor is just now."""
    width, least, most, seconds = YARDSTICK
    left = np.linspace(-1, 1, width * width, dtype=np.float32).reshape(width, width)
    right, product = np.ascontiguousarray(left.T), np.empty_like(left)
    times = []  # type: List[float]
    while len(times) < least or (len(times) < most and sum(times) < seconds):
        start = time.perf_counter()
        np.dot(left, right, out=product)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def speed(request: Dict[str, Any]) -> Dict[str, Any]:
    """Session creation, first call, warm-up, then timed runs; all times in milliseconds.

    The yardstick is timed before and behind all that, where the processor runs the model; the slower one counts.
    """
    on_cpu = request["providers"][0][0] == "CPUExecutionProvider"
    yardstick = yardstick_ms() if on_cpu else None
    sets = input_sets(request)
    start = time.perf_counter()
    session = open_session(request)
    session_ms = (time.perf_counter() - start) * 1e3
    feeds = [feed_for(session, arrays, request.get("keep")) for arrays in sets]
    start = time.perf_counter()
    session.run(None, feeds[0])
    first_call_ms = (time.perf_counter() - start) * 1e3
    for index in range(int(request["warmup"])):
        session.run(None, feeds[index % len(feeds)])
    times = []
    rows = 0
    layers = []  # that each timed run computed: those of its slowest row
    names = [node.name for node in session.get_outputs()]
    for index in range(int(request["runs"])):
        feed = feeds[index % len(feeds)]
        start = time.perf_counter()
        outputs = session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
        if BLOCKS_RUN in names:
            layers.append(float(np.max(outputs[names.index(BLOCKS_RUN)])))
        del outputs  # not while the clock runs
        rows += len(next(iter(sets[index % len(feeds)].values())))
    answer = {"session_ms": session_ms, "first_call_ms": first_call_ms, "times_ms": times, "rows": rows}
    answer["layers_run"] = sum(layers) / len(layers) if layers else None
    answer["yardstick_ms"] = None if yardstick is None else max(yardstick, yardstick_ms())
    answer.update(used(session, request))
    if not on_cpu:
        answer["nodes_by_provider"] = placement(request, sets[0])
    return answer


def placement(request: Dict[str, Any], arrays: Arrays) -> Dict[str, int]:
    """How many nodes each provider really ran, from a profiled run of its own; none on the first one is an error."""
    session = open_session(request, profile=request["result"] + ".profile")
    session.run(None, feed_for(session, arrays, request.get("keep")))
    name = session.end_profiling()
    with open(name, encoding="utf-8") as file:
        events = json.load(file)
    os.remove(name)
    counts = {}  # type: Dict[str, int]
    for event in events:
        provider = event.get("args", {}).get("provider") if event.get("cat") == "Node" else None
        if provider:
            counts[provider] = counts.get(provider, 0) + 1
    required = request["providers"][0][0]
    if not counts.get(required):
        raise ProbeError("{} was asked for, but none of the graph's nodes ran on it: {}".format(required, counts))
    return counts


def turns(request: Dict[str, Any]) -> Dict[str, Any]:
    """Milliseconds of several length configurations, taken in turn after a warm-up: one list for each of `keeps`."""
    arrays = input_sets(request)[0]
    session = open_session(request)
    feeds = [feed_for(session, arrays, keep) for keep in request["keeps"]]
    times = [[] for _ in feeds]  # type: List[List[float]]
    for index in range(-int(request["warmup"]), int(request["runs"])):
        for feed, found in zip(feeds, times):  # noqa: B905
            start = time.perf_counter()
            session.run(None, feed)
            if index >= 0:
                found.append((time.perf_counter() - start) * 1e3)
    answer = {"times_ms": times}  # type: Dict[str, Any]
    answer.update(used(session, request))
    return answer


def tokenize(request: Dict[str, Any]) -> Dict[str, Any]:
    """Milliseconds of each text's way to tokens, one at a time, after one round over all of them."""
    try:
        import tokenizers
    except ImportError:
        return {"times_ms": [], "note": "not measured: the library tokenizers is not installed there"}
    try:
        tokenizer = tokenizers.Tokenizer.from_file(request["tokenizer"])
    except Exception as error:  # it raises no other kind, for a format newer than it above all
        reason = "tokenizers {} there cannot read this tokenizer.json: {}".format(tokenizers.__version__, error)
        return {"times_ms": [], "note": "not measured: " + reason}
    tokenizer.enable_truncation(int(request["max_length"]))
    with open(request["texts"], encoding="utf-8") as file:
        texts = json.load(file)
    times = []
    for turn in range(2):
        for first, second in texts:
            start = time.perf_counter()
            tokenizer.encode(first, second, is_pretokenized=isinstance(first, list))
            if turn:
                times.append((time.perf_counter() - start) * 1e3)
    return {"times_ms": times, "note": "tokenizers {}, one text at a time".format(tokenizers.__version__)}


def memory(request: Dict[str, Any]) -> Dict[str, Any]:
    """Peak resident memory of a process that does nothing else, and whether it fits into `limit_mb`.

    With a limit the run is made under it; where it does not fit, or ends for another reason, it is made once more
    without it, so that the peak is known too.
    """
    limit_mb = request.get("limit_mb")
    if not limit_mb:
        return peak(request)
    fits, under, note, answer = limited(request, float(limit_mb))
    limits = {"fits": fits, "limited_by": under, "limit_note": note, "limit_mb": limit_mb}
    if answer is None:
        answer = beyond(request, limits)
    answer.update(limits)
    return answer


def beyond(request: Dict[str, Any], limits: Dict[str, Any]) -> Dict[str, Any]:
    """The peak without the limit; none for a model that does not fit, where memory runs out here too."""
    unknown = {"peak_memory_mb": None, "baseline_memory_mb": None}  # type: Dict[str, Any]
    if limits["fits"] is False:
        write_answer(request, dict(unknown, **limits))  # is there if this process is killed now
    try:
        return peak(request)
    except Exception as error:  # what it is called depends on who asked for the memory
        if limits["fits"] is False and ran_out("{}: {}".format(type(error).__name__, error)):
            return unknown
        raise


def peak(request: Dict[str, Any]) -> Dict[str, Any]:
    """Peak resident memory of this process; before the model was loaded, and after."""
    import onnxruntime  # noqa: F401  (so that the library itself counts as the baseline)

    sets = input_sets(request)
    baseline = peak_memory_mb()
    session = open_session(request)
    for arrays in sets:
        feed = feed_for(session, arrays, request.get("keep"))
        for _ in range(3):
            session.run(None, feed)
    answer = {"peak_memory_mb": peak_memory_mb(), "baseline_memory_mb": baseline}
    answer.update(used(session, request))
    return answer


BEGUN = ".begun"  # behind the result's name: a limit was in force when the run began
CGROUP, DATA = "cgroup", "rlimit_data"
UNHELD = "the limit is not in force"
OUT_OF_MEMORY = (
    "bad_alloc", "MemoryError", "Cannot allocate memory", "Failed to allocate memory", "Unable to allocate",
    "Resource temporarily unavailable", "Out of memory", "out of memory", "CUDA_ERROR_OUT_OF_MEMORY",
)  # fmt: skip


def ran_out(words: str) -> bool:
    """Whether an error's text is that of memory which could not be had."""
    return any(sign in words for sign in OUT_OF_MEMORY)


def limited(request: Dict[str, Any], limit_mb: float) -> Tuple[Optional[bool], str, str, Optional[Dict[str, Any]]]:
    """One run in a process under a limit.

    Returns whether it fits (None: it ended for another reason), by which limit, a note, and its answer if it fits.
    """
    limit = int(limit_mb * 2**20)
    starts = [(CGROUP, command) for command in cgroup_commands(limit)] + [(DATA, [])]
    for under, command in starts:
        inner = dict(request, limit_mb=None, under=under, limit_bytes=limit, parent=os.getpid())
        inner["result"] = request["result"] + ".limited"
        path = inner["result"] + ".request"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(inner, file)
        begun = inner["result"] + BEGUN
        with open(inner["result"] + ".log", "w+b") as log:
            code = subprocess.call(
                command + [sys.executable, os.path.abspath(__file__), path], stdout=log, stderr=subprocess.STDOUT
            )
            log.seek(0)
            words = log.read().decode("utf-8", "replace").strip()
        held = os.path.exists(begun)
        answer = None
        if os.path.exists(inner["result"]):
            with open(inner["result"], encoding="utf-8") as file:
                answer = json.load(file)
        for left in (path, begun, inner["result"], inner["result"] + ".log"):
            if os.path.exists(left):
                os.unlink(left)
        if held:
            break
    else:
        return None, "nothing", "not tried: this system limits no process's memory", None
    if answer is not None and "error" not in answer:
        return True, under, "", answer
    reason = answer["error"] if answer else words[-300:]
    if (answer and answer["out_of_memory"]) or ran_out(words) or (code == -signal.SIGKILL and under == CGROUP):
        return False, under, "out of memory", None
    end = "was ended by signal {}".format(-code) if code < 0 else "ended with exit code {}".format(code)
    return None, under, "the run under the limit {}: {}".format(end, reason), None


def cgroup_commands(limit: int) -> List[List[str]]:
    """How a command is started below a limit of a control group here: by systemd, or not at all."""
    for whose in ([] if os.getuid() == 0 else ["--user"],):
        command = ["systemd-run"] + whose + ["--scope", "--quiet", "--no-ask-password", "-p"]
        command += ["MemoryMax={}".format(limit), "-p", "MemorySwapMax=0", "--"]
        try:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # type: Dict[str, Any]
            if subprocess.call(command + ["true"], timeout=10, **quiet) == 0:
                return [command]
        except (OSError, subprocess.TimeoutExpired):
            pass
    return []


def hold(under: str, limit: int, root: str) -> None:
    """Put this process below a limit, or see that its control group is; raises `ProbeError` where it is not."""
    if under == DATA:
        import resource

        try:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        except (ValueError, OSError) as error:
            raise ProbeError("{}: {}".format(UNHELD, error))  # noqa: B904
        return
    path = ""
    for line in text_of(root, "proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            path = line[3:].lstrip("/")
    found = text_of(root, "sys/fs/cgroup", path, "memory.max")
    if not found.isdigit() or int(found) > limit:
        raise ProbeError("{}: its control group has memory.max = {}".format(UNHELD, found or "nothing"))


def rapl_domains(root: str = "/") -> List[Tuple[str, int]]:
    """Energy counters of all processor packages that can be read: (file, value where it wraps in microjoules)."""
    found = []
    for folder in sorted(glob.glob(os.path.join(root, "sys/class/powercap/intel-rapl:*"))):
        if os.path.basename(folder).count(":") != 1 or not text_of(folder, "name").startswith("package"):
            continue  # a part of a package, or psys, the whole machine: both count some of the same energy again
        limit, value = text_of(folder, "max_energy_range_uj"), text_of(folder, "energy_uj")
        if limit.isdigit() and value.isdigit():
            found.append((os.path.join(folder, "energy_uj"), int(limit)))
    return found


def read_counters(domains: List[Tuple[str, int]]) -> List[int]:
    """Microjoules counted so far, one number a package."""
    try:
        return [int(text_of(name)) for name, _ in domains]
    except ValueError:
        raise MeterError("a RAPL counter could not be read any more")  # noqa: B904


class Rapl:
    """The energy counters of x86 processors."""

    def __init__(self, root: str) -> None:
        self.domains = rapl_domains(root)
        if not self.domains:
            raise MeterError("no readable RAPL counter in /sys/class/powercap")
        self.note = "RAPL, all processor packages"
        self.before = []  # type: List[int]

    def start(self) -> None:
        """Begin to count."""
        self.before = read_counters(self.domains)

    def joules(self) -> float:
        """Energy since the start."""
        after = read_counters(self.domains)
        return (
            sum(
                late - early + (limit if late < early else 0)
                for early, late, (_, limit) in zip(self.before, after, self.domains)  # noqa: B905  (not in Python 3.6)
            )
            / 1e6
        )


MODULE_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Names of the rail that feeds a whole Jetson module, on boards that have one."""
SAMPLE_S = 0.01


def ina3221_rails(root: str = "/") -> Dict[str, Callable[[], float]]:
    """Rails of the INA3221 power monitors by name, each with what reads its power in watts now.

    Newer kernels show them under hwmon (millivolts and milliamperes), JetPack 4's under iio (milliwatts).
    """
    rails = {}  # type: Dict[str, Callable[[], float]]
    for name in sorted(glob.glob(os.path.join(root, "sys/class/hwmon/hwmon*/name"))):
        folder = os.path.dirname(name)
        if text_of(name) != "ina3221":
            continue
        for label in sorted(glob.glob(os.path.join(folder, "in*_label"))):
            number = os.path.basename(label)[2:-6]
            volts, amperes = os.path.join(folder, "in" + number), os.path.join(folder, "curr" + number)
            if text_of(volts + "_input") and text_of(amperes + "_input"):
                rails.setdefault(text_of(label), product(volts + "_input", amperes + "_input"))
    for pattern in ("sys/bus/i2c/drivers/ina3221x/*/iio[:_]device*", "sys/bus/iio/devices/iio[:_]device*"):
        for label in sorted(glob.glob(os.path.join(root, pattern, "rail_name_*"))):
            power = os.path.join(os.path.dirname(label), "in_power{}_input".format(label.rsplit("_", 1)[1]))
            if text_of(power):
                rails.setdefault(text_of(label), milliwatts(power))
    return rails


def product(volts: str, amperes: str) -> Callable[[], float]:
    """Reads watts from a file of millivolts and one of milliamperes."""
    return lambda: float(text_of(volts)) * float(text_of(amperes)) / 1e6


def milliwatts(power: str) -> Callable[[], float]:
    """Reads watts from a file of milliwatts."""
    return lambda: float(text_of(power)) / 1e3


class Ina3221:
    """A Jetson's power monitor, read by a thread of its own; energy is the integral of its readings."""

    def __init__(self, root: str) -> None:
        rails = ina3221_rails(root)
        chosen = [name for name in MODULE_RAILS if name in rails]
        if not rails:
            raise MeterError("no INA3221 power monitor in /sys")
        if not chosen:
            raise MeterError("the INA3221 has no rail of the whole module, only {}".format(", ".join(sorted(rails))))
        self.watts = rails[chosen[0]]
        self.note = "INA3221, rail {} of the whole module, read every {:g} ms".format(chosen[0], SAMPLE_S * 1e3)
        self.readings = []  # type: List[Tuple[float, float]]
        self.thread = None  # type: Optional[threading.Thread]
        self.ended = threading.Event()

    def start(self) -> None:
        """Begin to read: once before the thread runs, so that nothing is missed while it starts."""
        self.readings = []
        self.ended.clear()
        self.read()
        self.thread = threading.Thread(target=self.read_on, daemon=True)
        self.thread.start()

    def read(self) -> None:
        """One reading: when, and how many watts (not a number where the file cannot be read)."""
        try:
            self.readings.append((time.perf_counter(), self.watts()))
        except ValueError:
            self.readings.append((time.perf_counter(), float("nan")))

    def read_on(self) -> None:
        """Read until told to end."""
        while not self.ended.wait(SAMPLE_S):
            self.read()

    def joules(self) -> float:
        """Energy since the start by the trapezoidal rule; reading ends."""
        self.ended.set()
        if self.thread:
            self.thread.join()
        self.read()
        times, watts = np.asarray(self.readings).T
        total = float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2))
        if total != total:
            raise MeterError("the INA3221 could not be read all the time")
        return total


class External:
    """A meter in the supply line, whose log is joined later by the times of the run."""

    def __init__(self, root: str) -> None:
        self.note = "a meter outside the board: join its log by the times of the run"

    def start(self) -> None:
        """Nothing to do here."""

    def joules(self) -> Optional[float]:
        """Not known here."""
        return None


METERS = {"rapl": Rapl, "ina3221": Ina3221, "external": External}  # type: Dict[str, Any]


def energy(request: Dict[str, Any]) -> Dict[str, Any]:
    """Energy of a call in millijoules, all of it and above idle; or why it was not measured."""
    try:
        return metered(request, METERS[request["meter"]](root_of(request)))
    except MeterError as reason:
        return {"energy_mj": None, "note": "not measured: {}".format(reason)}


def metered(request: Dict[str, Any], meter: Any) -> Dict[str, Any]:
    """The model is loaded, then nothing runs for `idle_seconds`, then it runs for `seconds`."""
    session = open_session(request)
    feeds = [feed_for(session, arrays, request.get("keep")) for arrays in input_sets(request)]
    idle_started, clock = time.time(), time.perf_counter()
    meter.start()
    time.sleep(float(request["idle_seconds"]))
    idle_j, idle_s = meter.joules(), time.perf_counter() - clock
    for index in range(int(request["warmup"])):
        session.run(None, feeds[index % len(feeds)])
    calls = 0
    started, clock = time.time(), time.perf_counter()
    meter.start()
    while time.perf_counter() < clock + float(request["seconds"]) or calls < len(feeds):
        session.run(None, feeds[calls % len(feeds)])
        calls += 1
    total_j, run_s = meter.joules(), time.perf_counter() - clock
    answer = {
        "energy_mj": None,
        "note": meter.note,
        "calls": calls,
        "started": started,
        "ended": started + run_s,
        "idle_started": idle_started,
        "idle_ended": idle_started + idle_s,
    }  # type: Dict[str, Any]
    if total_j is not None:
        idle_w = idle_j / idle_s if idle_s > 0 else 0.0
        answer["energy_mj"] = total_j * 1e3 / calls
        answer["energy_above_idle_mj"] = (total_j - idle_w * run_s) * 1e3 / calls
        answer.update(idle_w=idle_w, power_w=total_j / run_s)
    answer.update(used(session, request))
    return answer


def outputs(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run all rows, longest first in padded batches, and write the unpadded outputs in the order of the input."""
    with np.load(request["inputs"], allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    lengths = arrays.pop("lengths")
    ends = np.cumsum(lengths)
    session = open_session(request)
    names = [node.name for node in session.get_outputs()]
    per_token = token_outputs(session, request)
    results = {name: [None] * len(lengths) for name in names}  # type: Dict[str, List[Any]]
    order = np.argsort(-lengths, kind="mergesort")  # numpy 1.13 does not call it stable
    size = int(request["batch_size"])
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        batch = padded(arrays, lengths, ends, rows, request.get("pad") or {})
        values = session.run(names, feed_for(session, batch, request.get("keep")))
        for name, value in zip(names, values):  # noqa: B905
            for place, row in enumerate(rows):
                entry = value[place]
                results[name][row] = np.asarray(entry[: lengths[row]] if name in per_token else entry, dtype=np.float32)
        report(request, first + len(rows))
    flat = {}  # type: Arrays
    for name in names:
        shapes = np.asarray([entry.shape for entry in results[name]], dtype=np.int64)
        flat["shape/" + name] = shapes
        flat["value/" + name] = (
            np.concatenate([entry.reshape(-1) for entry in results[name]]) if len(lengths) else np.zeros(0, np.float32)
        )
    try:
        with open(request["outputs"], "wb") as file:
            np.savez(file, **flat)
    except OSError:
        os.unlink(request["outputs"])  # a full disk must have room for the answer that says so
        raise
    answer = {"rows": len(lengths), "names": names}
    answer.update(used(session, request))
    return answer


def token_outputs(session: Any, request: Dict[str, Any]) -> List[str]:
    """Outputs with one entry a token: as told, else those whose second axis is named as that of `input_ids`."""
    if request.get("token_outputs") is not None:
        return list(request["token_outputs"])
    axes = {node.name: node.shape for node in session.get_inputs()}
    shape = axes.get("input_ids") or []
    axis = shape[1] if len(shape) > 1 else None
    return [
        node.name
        for node in session.get_outputs()
        if len(node.shape or []) > 1 and isinstance(node.shape[1], str) and node.shape[1] == axis
    ]


def padded(arrays: Arrays, lengths: Any, ends: Any, rows: Any, pad: Dict[str, int]) -> Arrays:
    """The rows as arrays [len(rows), longest row], filled up on the right."""
    longest = int(max(lengths[row] for row in rows))
    batch = {}
    for name, flat in arrays.items():
        matrix = np.full((len(rows), longest), pad.get(name, 0), dtype=np.int64)
        for place, row in enumerate(rows):
            matrix[place, : lengths[row]] = flat[ends[row] - lengths[row] : ends[row]]
        batch[name] = matrix
    return batch


def report(request: Dict[str, Any], done: int) -> None:
    """Tell the caller how many rows are finished."""
    if request.get("progress"):
        with open(request["progress"], "w", encoding="utf-8") as file:
            file.write(str(done))


def facts(request: Dict[str, Any]) -> Dict[str, Any]:
    """What machine this is and what is installed; None for a library that is missing. It names nobody and no place."""
    root = root_of(request)
    info = {}  # type: Dict[str, str]
    for line in text_of(root, "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        info.setdefault(name.strip(), value.strip())
    system = platform.uname()
    board = text_of(root, "proc/device-tree/model")
    answer = {
        "machine": system.machine,
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "flags": sorted(set((info.get("flags", "") + " " + info.get("Features", "")).split())),
        "board": board or None,
        "cpu": info.get("model name") or info.get("Model") or board or system.machine,
        "cpus": sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1)),
        "cores": cores(root),
        "memory_mb": memory_mb(root),
        "paths": [path for path in request.get("paths") or [] if os.path.exists(below(root, path))],
        "os": "{} {}".format(system.system, system.release),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "numpy": np.__version__ if np is not None else None,
        "onnxruntime": None,
        "providers": [],
    }  # type: Dict[str, Any]
    try:
        import onnxruntime

        answer["onnxruntime"] = onnxruntime.__version__
        answer["providers"] = list(onnxruntime.get_available_providers())
    except ImportError as error:  # also one that is built for another numpy or C library
        answer["import_error"] = str(error).strip().splitlines()[-1] if str(error).strip() else "it cannot be imported"
    return answer


def cores(root: str) -> int:
    """Logical CPUs that this process can use: its affinity, bounded by a container's quota."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota, _, period = text_of(root, "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        found = min(found, max(1, int(round(int(quota) / float(period)))))
    return found


def memory_mb(root: str) -> Optional[int]:
    """Memory in MiB that this process can use: the machine's, bounded by a container's limit."""
    total = None
    for line in text_of(root, "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) // 1024
    limit = text_of(root, "sys/fs/cgroup/memory.max")
    if limit.isdigit():
        total = min(total or int(limit) // 2**20, int(limit) // 2**20)
    return total


MODES = {
    "speed": speed, "turns": turns, "memory": memory, "energy": energy, "outputs": outputs, "tokenize": tokenize,
    "facts": facts,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
