"""A real OpenSSH server on loopback with keys, configuration and folders of its own: a board to reach by ssh."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.require import require

ADDRESS = "my-board"
"""The server's name in the client's configuration."""


class Sshd:
    """A server that is up, and the client configuration that reaches it as `my-board`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tmp = folder / "tmp"  # TMPDIR of what runs on the "board"
        self.tmp.mkdir()
        self.known_hosts = folder / "known_hosts"
        self.program = require("sshd", "apt install openssh-server")
        client = require("ssh", "apt install openssh-client")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        for name in ("host_key", "other_host_key", "user_key", "stranger_key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
            subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        self.know("host_key")
        lines = [f"Host {ADDRESS}", "HostName 127.0.0.1", f"Port {self.port}", f"User {getpass.getuser()}",
                 f"IdentityFile {folder}/user_key", "IdentitiesOnly yes", "IdentityAgent none",
                 f"UserKnownHostsFile {self.known_hosts}", "GlobalKnownHostsFile /dev/null"]  # fmt: skip
        (folder / "config").write_text("\n".join(lines) + "\n")
        (folder / "bin").mkdir()
        self.script(folder / "bin" / "ssh", f'exec {client} -F {folder}/config "$@"')
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it listens."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        lines = [f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.folder}/host_key", "PidFile none",
                 f"AuthorizedKeysFile {self.folder}/authorized_keys", "StrictModes no", "UsePAM no",
                 "PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
                 f"SetEnv TMPDIR={self.tmp}", "PrintMotd no", "MaxStartups 100"]  # fmt: skip
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        with (self.folder / "sshd.log").open("ab") as log:
            command = [self.program, "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Stop the server with all connections to it."""
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()

    def cut(self) -> int:
        """Kill the server's side of all connections, as a network would that goes away; gives how many."""
        assert self.process is not None
        sessions = [pid for pid, parent, name in processes() if parent == self.process.pid and name == "sshd"]
        inner = [pid for pid, parent, name in processes() if parent in sessions and name == "sshd"]
        for pid in sessions + inner:
            with suppress(ProcessLookupError):  # one that has ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        return len(sessions)

    def know(self, *keys: str) -> None:
        """What the client takes for the server's host key."""
        entries = [f"[127.0.0.1]:{self.port} {(self.folder / f'{key}.pub').read_text()}" for key in keys]
        self.known_hosts.write_text("".join(entries))

    def script(self, path: Path, *lines: str) -> Path:
        """An executable shell script."""
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)
        return path

    def python(self, name: str, *lines: str) -> Path:
        """A Python on the board: a script that does `lines` and then is this one."""
        return self.script(self.folder / name, *lines, f'exec {shlex.quote(sys.executable)} "$@"')

    def left_behind(self, seconds: float = 10.0) -> list[str]:
        """What lies in the board's temporary folder, once things have had time to settle."""
        end = time.monotonic() + seconds
        while (found := sorted(path.name for path in self.tmp.iterdir())) and time.monotonic() < end:
            time.sleep(0.05)
        return found


def processes() -> list[tuple[int, int, str]]:
    """All processes: (id, parent's id, name)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(") ")
        except OSError:
            continue
        found.append((int(stat.parent.name), int(tail.split()[1]), head.partition("(")[2]))
    return found


@contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    """A server in `folder`; while it is up, `ssh` on this process's PATH is a client that knows it."""
    server = Sshd(folder)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder / 'bin'}:{path}"
    try:
        server.start()
        yield server
    finally:
        os.environ["PATH"] = path
        server.stop()
