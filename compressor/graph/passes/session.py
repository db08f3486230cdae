"""Running a graph inside this process, for passes that must look at its outputs."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from compressor.config.device import DeviceProfile
from compressor.devices.child import threads_for
from compressor.errors import PassError


def open_session(path: Path, device: DeviceProfile) -> onnxruntime.InferenceSession:
    """Load a graph with the profile's threads, and with its providers where this machine has all of them.

    Otherwise the CPU provider stands in: right for outputs, and never called a measurement of the device.
    Raises `PassError` if ONNX Runtime cannot load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_for(device)  # no more than there are: they would spin against each other
    options.log_severity_level = 3
    wanted = [(provider.name, dict(provider.options)) for provider in device.providers]
    known = set(onnxruntime.get_available_providers())
    providers = wanted if wanted and all(name in known for name, _ in wanted) else [("CPUExecutionProvider", {})]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own that share no base but Exception
        raise PassError(f"ONNX Runtime cannot load {path.name}: {error}") from error
