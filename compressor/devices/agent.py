"""The board's end of an SSH connection: takes files, runs the probe, gives files back, and leaves nothing behind.

It is sent over the connection and runs in a private folder that a shell made, and removes when this process ends. So
it keeps to Python 3.6 and its own library. It ends when the other side says so, when its input ends (the connection is
lost), when it has heard nothing for a while, and by a signal; a probe that still runs is killed first.

Messages are one line of JSON each, with `size` bytes behind it. Asked:
    put   name, sha256; the content follows      -> {} or {"error", "full", "free_mb"}
    drop  name                                   -> {}
    run   probe, request, environment, defaults, timeout_s
                                                 -> {"rows": n} now and then, then {"code"} or {"timeout": true}
    get   name                                   -> {"missing": true} or the content
    bye                                          -> the end
    clock                                        -> {"time": seconds since the epoch}
    ping                                         -> nothing
"""

import errno
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Dict, Optional  # noqa: F401  (in comments that name types)

GREETING = b"\nCOMPRESSOR-AGENT\n"
SILENCE_S = 120.0  # without a word from the other side: it is gone
CHUNK = 1 << 16
NICE_TO_DIE = "1000"  # the board out of memory kills the probe, not its other programs


class GoneError(Exception):
    """The other side is not there any more."""


class Source:
    """What arrives at standard input."""

    def __init__(self) -> None:
        self.buffer = b""
        self.heard = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Whether something is there within `seconds`; raises `GoneError` after a long silence."""
        if self.buffer:
            return True
        if time.monotonic() - self.heard > SILENCE_S:
            raise GoneError
        return bool(select.select([0], [], [], seconds)[0])

    def more(self) -> None:
        """Read what is there."""
        while not self.wait(min(5.0, SILENCE_S)):
            pass
        chunk = os.read(0, CHUNK)
        if not chunk:
            raise GoneError
        self.heard = time.monotonic()
        self.buffer += chunk

    def message(self) -> Dict[str, Any]:
        """The next line, read as JSON."""
        while b"\n" not in self.buffer:
            chunk, self.buffer = self.buffer, b""
            try:
                self.more()
            finally:
                self.buffer = chunk + self.buffer
        line, _, self.buffer = self.buffer.partition(b"\n")
        found = json.loads(line.decode("utf-8"))  # type: Dict[str, Any]
        return found

    def part(self, most: int) -> bytes:
        """Between 1 and `most` bytes of what follows."""
        if not self.buffer:
            self.more()
        part, self.buffer = self.buffer[:most], self.buffer[most:]
        return part


def send(message: Dict[str, Any], size: int = 0) -> None:
    """One message; `size` bytes have to follow."""
    sys.stdout.buffer.write(json.dumps(dict(message, size=size)).encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def free_mb() -> float:
    """Room in this folder's file system in MB."""
    room = os.statvfs(".")
    return room.f_bavail * room.f_frsize / 1e6


def put(source: Source, message: Dict[str, Any]) -> None:
    """Write a file whole, or not at all; the content is read to its end in any case."""
    name, left = os.path.basename(message["name"]), int(message["size"])
    digest = hashlib.sha256()
    trouble = None  # type: Optional[OSError]
    file = None
    while left:
        part = source.part(min(left, CHUNK))
        left -= len(part)
        digest.update(part)
        if trouble is not None:
            continue
        try:
            file = file or open(name + ".part", "wb", buffering=0)
            view = memoryview(part)
            while view:
                view = view[file.write(view) or 0 :]
        except OSError as error:
            trouble = error
    try:
        if file:
            file.close()
        if trouble is None and digest.hexdigest() == message["sha256"]:
            os.rename(name + ".part", name)
            send({})
            return
    except OSError as error:
        trouble = error
    if os.path.exists(name + ".part"):
        os.unlink(name + ".part")
    full = trouble is not None and trouble.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    send({"error": str(trouble or "the content was damaged on its way"), "full": full, "free_mb": free_mb()})


def get(message: Dict[str, Any]) -> None:
    """Give a file's content."""
    name = os.path.basename(message["name"])
    if not os.path.isfile(name):
        send({"missing": True})
        return
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        send({}, size)
        for part in iter(lambda: file.read(CHUNK), b""):
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def killable() -> None:
    """In the probe's process: the first to go when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(NICE_TO_DIE)
    except OSError:
        pass


def run(source: Source, message: Dict[str, Any]) -> None:
    """Run the probe on one request until it ends or its time is over."""
    request = dict(message["request"], parent=os.getpid())
    for name in (request["result"], request["progress"]):
        if os.path.exists(name):
            os.unlink(name)
    try:
        with open("request.json", "w", encoding="utf-8") as file:
            json.dump(request, file)
        log = open("log", "wb")
    except OSError as error:
        send({"error": str(error), "full": error.errno in (errno.ENOSPC, errno.EDQUOT), "free_mb": free_mb()})
        return
    variables = dict(message["defaults"], **os.environ)  # what the board sets itself stays
    child = subprocess.Popen(
        [sys.executable, message["probe"], "request.json"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(variables, TMPDIR=os.getcwd(), **message["environment"]),  # libraries leave files there
        start_new_session=True,
        preexec_fn=killable,
    )
    end = time.monotonic() + float(message["timeout_s"])
    rows = ""
    try:
        while child.poll() is None:
            if time.monotonic() > end:
                send({"timeout": True})
                return
            if source.wait(0.02 if end - time.monotonic() > message["timeout_s"] - 2 else 0.2):
                if source.message()["op"] != "ping":
                    raise GoneError
            done = progress(request["progress"])
            if done and done != rows:
                rows = done
                send({"rows": int(rows)})
        send({"code": child.returncode})
    finally:
        log.close()
        stop(child)


def progress(name: str) -> str:
    """Finished rows, as the probe last wrote them; empty if it has not."""
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return ""
    return text if text.isdigit() else ""


def stop(child: Any) -> None:
    """Kill a process that still runs, with all that it started."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except OSError:
            pass
        child.wait()


def end(*_: Any) -> None:
    """A signal ends this process as if the other side had gone."""
    raise GoneError


def main() -> None:
    """Serve until the other side ends it."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    source = Source()
    try:
        sys.stdout.buffer.write(GREETING)
        sys.stdout.buffer.flush()
        while True:
            message = source.message()
            kind = message["op"]
            if kind == "bye":
                return
            if kind == "put":
                put(source, message)
            elif kind == "get":
                get(message)
            elif kind == "clock":
                send({"time": time.time()})
            elif kind == "run":
                run(source, message)
            elif kind == "ping":
                os.utime(".")  # a folder in use never looks left behind
            elif kind == "drop":
                name = os.path.basename(message["name"])
                if os.path.exists(name):
                    os.unlink(name)
                send({})
    except (GoneError, BrokenPipeError):
        pass


if __name__ == "__main__":
    main()
