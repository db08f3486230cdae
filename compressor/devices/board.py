"""This end of a connection to a board: files there and back, and the probe run over there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from compressor.devices import ssh
from compressor.errors import DeviceError, UnreachableError

START_S = 60.0  # for a login and the start of Python on a slow board
ANSWER_S = 60.0  # for an answer, beyond what was asked takes
GOODBYE_S = 15.0
_PING_S = 15.0
_CHUNK = 1 << 18
_MOST = 1 << 31
"""Bytes that are taken from a board at once."""
_GREETING = b"COMPRESSOR-AGENT\n"
_OPEN: dict[tuple[str, str], tuple[Board, int]] = {}

Message = dict[str, Any]


class Board:
    """A board over one SSH connection: an agent there serves this end, in a folder that is gone after `close`."""

    def __init__(self, address: str, python: str) -> None:
        """Connect. Raises `UnreachableError` and `DeviceSetupError` in one sentence when that does not work."""
        self.address, self.python = address, python
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._sent: dict[str, str] = {}  # content's SHA-256 by name there
        self._answers: queue.Queue[tuple[Message, bytes] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._started = False
        self._process = ssh.start(address, python, self._errors)
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._answer(START_S)
        except BaseException:
            self.close()
            raise
        self._started = True
        threading.Thread(target=self._keep_alive, daemon=True).start()

    def close(self) -> None:
        """Say goodbye, wait until the board has removed what is ours, end the connection; never raises."""
        self._ended.set()
        with contextlib.suppress(DeviceError, OSError, ValueError):
            self._send({"op": "bye"})
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def put(self, name: str, path: Path) -> None:
        """Copy a file there, once a content; what is in the way of a full disk is removed first.

        Raises `DeviceError` when it does not fit, and `UnreachableError`.
        """
        content = content_key(path)
        if self._sent.get(name) == content:
            return
        answer = self._put(name, path, content)
        if answer.get("full") and self._sent:
            for other in [key for key in self._sent if key.endswith(".onnx")]:
                self.drop(other)
            answer = self._put(name, path, content)
        if "error" in answer:
            if answer.get("full"):
                raise _full(self.address, answer, path.stat().st_size)
            raise DeviceError(f"{path.name} could not be written on {self.address}: {answer['error']}.")
        self._sent[name] = content

    def drop(self, name: str) -> None:
        """Remove a file there."""
        self._send({"op": "drop", "name": name})
        self._answer(ANSWER_S)
        self._sent.pop(name, None)

    def get(self, name: str, target: Path) -> bool:
        """Bring a file back; False if there is none."""
        self._send({"op": "get", "name": name})
        message, content = self._answer(ANSWER_S)
        if message.get("missing"):
            return False
        target.write_bytes(content)
        return True

    def clock_offset_s(self) -> float:
        """What the board's clock is ahead of this machine's."""
        before = time.time()
        self._send({"op": "clock"})
        message, _ = self._answer(ANSWER_S)
        return float(message["time"]) - (before + time.time()) / 2

    def run(
        self,
        request: Mapping[str, Any],
        environment: Mapping[str, str],
        defaults: Mapping[str, str],
        *,
        timeout_s: float,
        on_rows: Callable[[int], None] | None = None,
    ) -> int | None:
        """Run the probe on a request there; the exit code of its process, or None when its time was over.

        `environment` is set for it, `defaults` only what the board does not set itself.
        """
        asked = {"op": "run", "probe": "probe.py", "request": dict(request)}
        variables = {"environment": dict(environment), "defaults": dict(defaults)}
        self._send({**asked, **variables, "timeout_s": timeout_s})
        end = time.monotonic() + timeout_s + ANSWER_S
        while True:
            message, _ = self._answer(end - time.monotonic())
            if "rows" in message:
                if on_rows:
                    on_rows(int(message["rows"]))
            elif message.get("timeout"):
                return None
            elif "error" in message:
                raise _full(self.address, message, 0)
            else:
                return int(message["code"])

    def _put(self, name: str, path: Path, content: str) -> Message:
        self._sent.pop(name, None)
        size = path.stat().st_size
        self._send({"op": "put", "name": name, "sha256": content, "size": size}, path)
        return self._answer(ANSWER_S + size / 1e5)[0]

    def _send(self, message: Message, path: Path | None = None) -> None:
        """One message, and a file's content behind it."""
        stream = self._process.stdin
        assert stream is not None
        try:
            with self._lock:
                stream.write(json.dumps(message).encode() + b"\n")
                if path:
                    with path.open("rb") as file:
                        while chunk := file.read(_CHUNK):
                            stream.write(chunk)
                stream.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._lost() from error

    def _answer(self, seconds: float) -> tuple[Message, bytes]:
        """The next message and its content; raises when none comes in time, or none can come any more."""
        try:
            found = self._answers.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            raise UnreachableError(
                f"{self.address} has not answered for {seconds:.0f} s: the board or the network hangs."
            ) from None
        if found is None:
            raise self._lost()
        return found

    def _lost(self) -> DeviceError:
        self._answers.put(None)  # for whoever asks again
        try:
            code: int | None = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = None
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace")
        return ssh.failure(self.address, self.python, code, words, started=self._started)

    def _read(self) -> None:
        """Take messages from the connection until it ends; what login scripts print first is passed over."""
        stream = self._process.stdout
        assert stream is not None
        try:
            for line in stream:
                if line == _GREETING:
                    self._answers.put(({}, b""))
                    break
            while line := stream.readline():
                message = json.loads(line)
                size = int(message["size"])
                if not 0 <= size <= _MOST:
                    break
                content = stream.read(size)
                if len(content) != size:
                    break
                self._answers.put((message, content))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # cut off or damaged: the same to whoever waits
        self._answers.put(None)

    def _keep_alive(self) -> None:
        while not self._ended.wait(_PING_S):
            with contextlib.suppress(DeviceError, OSError, ValueError):
                self._send({"op": "ping"})


@contextmanager
def connected(address: str, python: str) -> Iterator[Board]:
    """The connection to a board: a new one, closed at the end, or the one that is open further out."""
    key = (address, python)
    board, users = _OPEN.get(key, (None, 0))
    if board is None:
        board = Board(address, python)
    _OPEN[key] = (board, users + 1)
    try:
        yield board
    finally:
        if users:
            _OPEN[key] = (board, users)
        else:
            del _OPEN[key]
            board.close()


def _full(address: str, answer: Message, size: int) -> DeviceError:
    needed = f"{size / 1e6:.1f} MB are needed, " if size else ""
    return DeviceError(
        f"the disk of {address} is full: {needed}{float(answer.get('free_mb', 0)):.1f} MB are free in its temporary "
        f"folder ({answer['error']}); make room there, or set TMPDIR there to a folder that has some."
    )


def content_key(path: Path) -> str:
    """A file's SHA-256, read again only when the file has changed."""
    found = path.stat()
    return _sha256(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
