"""Run the probe in a fresh process with pinned threads and a time-out, and bring back what it found."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compressor.config.device import DeviceProfile
from compressor.devices import answer, engines, host, identity
from compressor.errors import StorageError

PROBE = Path(__file__).with_name("probe.py")
CPU = "CPUExecutionProvider"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder for one request; a full disk is a `StorageError`."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="compressor-probe-"))
    except OSError as error:
        raise StorageError(f"no room for the files of a measurement: {error}") from error
    try:
        yield folder
    except OSError as error:
        raise StorageError(f"the files of a measurement could not be written: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def threads_for(profile: DeviceProfile) -> int:
    """Threads as the profile says, and no more than this machine has."""
    return min(profile.threads or host.cores(), host.cores())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz (uncompressed: it is read once, on this machine)."""
    with path.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]


@dataclass(frozen=True)
class LocalPlace:
    """This machine, or a runtime on it that another command starts (an emulator's, a container's).

    `command` starts Python; `environment` is laid over that of this process; `inside` tells how a file of this
    machine is called where the probe runs. A `Place`.
    """

    profile: DeviceProfile
    command: tuple[str, ...] = (sys.executable, "-P")
    environment: Mapping[str, str] = field(default_factory=dict)
    inside: Callable[[Path], str] = str

    @property
    def on_device(self) -> bool:
        """Whether figures taken here are the device's own."""
        return identity.is_this_machine(self.profile)

    @property
    def measured_on(self) -> str:
        """Where figures are taken, in words."""
        return identity.measured_on(self.profile)

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """Nothing that the facts of this machine do not say."""
        return None

    @property
    def memory_mb(self) -> float | None:
        """What this machine shows, where it is the device."""
        return host.memory_mb() if self.on_device else None

    def placement(self) -> dict[str, Any]:
        """Request entries: providers (the CPU's where this is not the device), threads, CPUs."""
        threads = threads_for(self.profile)
        providers: list[list[Any]] = [[CPU, {}]]
        if self.on_device:
            providers = [[provider.name, dict(provider.options)] for provider in self.profile.providers]
        allowed = host.allowed_cpus()
        return {
            "providers": providers,
            "threads": threads,
            "cpus": allowed[:threads] if threads < len(allowed) else None,
        }

    def run_probe(
        self,
        request: Mapping[str, Any],
        folder: Path,
        *,
        timeout_s: float,
        on_rows: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Run one request in a fresh process; `on_rows` is told the number of finished rows now and then.

        Raises `DeviceError` with the child's last words when it fails, crashes or takes longer than `timeout_s`.
        """
        names = {"result": "result.json", "progress": "progress"}
        (folder / names["result"]).unlink(missing_ok=True)
        request_path = folder / "request.json"
        asked = {**request, **names, **self._model(request), "parent": os.getpid()}
        request_path.write_text(json.dumps(asked), encoding="utf-8")
        log = folder / "log"
        threads = dict.fromkeys(THREAD_VARIABLES, str(request.get("threads", 1)))
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*self.command, self.inside(PROBE), self.inside(request_path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,  # providers leave files where they are started
                env={**os.environ, "TMPDIR": self.inside(folder), **threads, **self.environment},
                start_new_session=True,
            )
            try:
                _wait(child, timeout_s, folder / names["progress"], on_rows)
            finally:
                _stop(child)
        return answer.read(child.returncode, folder / names["result"], log, request)

    def _model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Request entries: the model and the providers, with their files named as the probe finds them."""
        if "model" not in request:
            return {}
        model = Path(request["model"])
        providers = [
            [name, engines.local_options(name, options, model, self.inside)]
            for name, options in request.get("providers", ())
        ]
        return {"model": self.inside(model), "providers": providers}


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs, with all that it started."""
    if child.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _wait(
    child: subprocess.Popen[bytes], timeout_s: float, progress: Path, on_rows: Callable[[int], None] | None
) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise answer.too_slow(timeout_s)
        try:
            child.wait(timeout=min(remaining, 0.5) if on_rows else remaining)
            return
        except subprocess.TimeoutExpired:
            if on_rows and progress.is_file():
                text = progress.read_text(encoding="utf-8")
                if text.isdigit():
                    on_rows(int(text))
