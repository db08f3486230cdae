"""Stand-alone probe: runs one ONNX file as told and reports speed, memory, energy or outputs.

It is copied to devices as it is, so it keeps to Python 3.6 and needs only numpy and onnxruntime.

    python probe.py request.json

The request names its files relative to its own folder. Keys:
    mode        "speed", "memory", "energy" or "outputs"
    model       the ONNX file
    inputs      an .npz; speed, memory, energy: "<i>/<input name>" arrays [batch, length], input sets taken in turn;
                outputs: "lengths" [rows] and one flat integer array per input name, the rows one after the other
    result      JSON file to write: the measurements, or {"error": ...}
    providers   [[name, options], ...] in order of preference; the first one must really be used
    threads     of one operator; cpus: logical CPUs to stay on (optional)
    keep        length configuration [layers], if any
    warmup, runs                                  speed
    seconds                                       energy: how long to run
    batch_size, pad, token_outputs, outputs       outputs: rows a batch, padding value by input name, names of the
                outputs that have one entry a token (absent: told from the graph's axis names), .npz to write
    progress    file that receives the number of finished rows (optional)
    parent      process id; when it ends, so does this one (optional)
"""

import ctypes
import glob
import json
import os
import signal
import sys
import time
import traceback
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

Arrays = Dict[str, Any]
KEEP = "keep"


class ProbeError(Exception):
    """Something that the caller must be told in one sentence."""


def main(path: str) -> int:
    """Answer one request; returns the exit code."""
    folder = os.path.dirname(os.path.abspath(path))
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    for key in ("model", "inputs", "result", "outputs", "progress"):
        if request.get(key):
            request[key] = os.path.join(folder, request[key])
    try:
        settle(request)
        answer = MODES[request["mode"]](request)
        code = 0
    except ProbeError as error:
        answer, code = {"error": str(error)}, 3
    except Exception as error:  # the caller sees only this file: say all that is known
        traceback.print_exc()
        answer, code = {"error": "{}: {}".format(type(error).__name__, str(error).strip())}, 3
    temporary = request["result"] + ".part"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(temporary, request["result"])
    return code


def settle(request: Dict[str, Any]) -> None:
    """End with the parent, stay on the CPUs that were given."""
    if request.get("parent") and sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        except (OSError, AttributeError):
            pass
        if os.getppid() != request["parent"]:
            raise ProbeError("the process that asked for this measurement has ended")
    if request.get("cpus") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cpus"])


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
    asked = [(name, {key: _option(value) for key, value in extra.items()}) for name, extra in request["providers"]]
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


def _option(value: Any) -> str:
    """Provider options are strings; booleans are 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


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


def facts(session: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """What was really used: providers, threads, CPUs, library versions."""
    import onnxruntime

    return {
        "providers": list(session.get_providers()),
        "threads": int(request.get("threads") or 0),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
    }


def speed(request: Dict[str, Any]) -> Dict[str, Any]:
    """Session creation, first call, warm-up, then timed runs; all times in milliseconds."""
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
    for index in range(int(request["runs"])):
        feed = feeds[index % len(feeds)]
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
        rows += len(next(iter(sets[index % len(feeds)].values())))
    answer = {"session_ms": session_ms, "first_call_ms": first_call_ms, "times_ms": times, "rows": rows}
    answer.update(facts(session, request))
    if request["providers"][0][0] != "CPUExecutionProvider":
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


def memory(request: Dict[str, Any]) -> Dict[str, Any]:
    """Peak resident memory of this process, which does nothing else; before the model was loaded, and after."""
    import onnxruntime  # noqa: F401  (so that the library itself counts as the baseline)

    sets = input_sets(request)
    baseline = peak_memory_mb()
    session = open_session(request)
    for arrays in sets:
        feed = feed_for(session, arrays, request.get("keep"))
        for _ in range(3):
            session.run(None, feed)
    answer = {"peak_memory_mb": peak_memory_mb(), "baseline_memory_mb": baseline}
    answer.update(facts(session, request))
    return answer


def rapl_domains() -> List[Tuple[str, int]]:
    """Energy counters of all processor packages that can be read: (file, value where it wraps in microjoules)."""
    found = []
    for folder in sorted(glob.glob("/sys/class/powercap/intel-rapl:*")):
        if os.path.basename(folder).count(":") != 1:
            continue  # a part of a package, which the package already counts
        try:
            with open(os.path.join(folder, "max_energy_range_uj"), encoding="utf-8") as file:
                limit = int(file.read())
            with open(os.path.join(folder, "energy_uj"), encoding="utf-8") as file:
                file.read()
        except (OSError, ValueError):
            continue
        found.append((os.path.join(folder, "energy_uj"), limit))
    return found


def read_counters(domains: List[Tuple[str, int]]) -> List[int]:
    """Microjoules counted so far, one number a package."""
    values = []
    for name, _ in domains:
        with open(name, encoding="utf-8") as file:
            values.append(int(file.read()))
    return values


def energy(request: Dict[str, Any]) -> Dict[str, Any]:
    """Energy of the processor packages per call in millijoules, idle power included; or why it was not measured."""
    domains = rapl_domains()
    if not domains:
        return {"energy_mj": None, "note": "not measured: no readable RAPL counter in /sys/class/powercap"}
    session = open_session(request)
    feeds = [feed_for(session, arrays, request.get("keep")) for arrays in input_sets(request)]
    for index in range(int(request["warmup"])):
        session.run(None, feeds[index % len(feeds)])
    before = read_counters(domains)
    calls = 0
    end = time.perf_counter() + float(request["seconds"])
    while time.perf_counter() < end or calls < len(feeds):
        session.run(None, feeds[calls % len(feeds)])
        calls += 1
    after = read_counters(domains)
    used = sum(
        late - early + (limit if late < early else 0)
        for early, late, (_, limit) in zip(before, after, domains)  # noqa: B905  (Python 3.6 has no strict=)
    )
    answer = {"energy_mj": used / 1e3 / calls, "note": "RAPL, all packages, idle power included", "calls": calls}
    answer.update(facts(session, request))
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
    order = np.argsort(-lengths, kind="stable")
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
    with open(request["outputs"], "wb") as file:
        np.savez(file, **flat)
    answer = {"rows": len(lengths), "names": names}
    answer.update(facts(session, request))
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


MODES = {"speed": speed, "memory": memory, "energy": energy, "outputs": outputs}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
