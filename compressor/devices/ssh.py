"""The system's OpenSSH: how a board is called, what is run there first, and what its failures mean."""

from __future__ import annotations

import base64
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import IO

from compressor.errors import DeviceError, DeviceSetupError, UnreachableError

AGENT = Path(__file__).with_name("agent.py")
OPTIONS = (
    "BatchMode=yes",  # never asks
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    "ControlMaster=no",  # a master of the user's may be used, but this connection is none
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)
NO_ROOM, NO_PYTHON, OLD_PYTHON = 91, 92, 93
_SSH_FAILED = 255
_CANNOT_RUN = (126, 127)
"""What a shell ends with where a program is not executable, or what it names as its interpreter is not there."""
_SHELL = (
    'umask 077; p=$1; case $p in "~/"*) p=$HOME/${p#"~/"};; esac; '
    f'command -v "$p" >/dev/null 2>&1 || exit {NO_PYTHON}; '
    'for t in "${TMPDIR:-/var/tmp}" /var/tmp /tmp; do '
    'find "$t"/compressor-???????? -prune -type d -perm 700 -user "$(id -u)" -mtime +0 -exec rm -rf {} + 2>/dev/null; '
    'd=$(mktemp -d "$t/compressor-XXXXXXXX") && break; done; '
    f'[ -n "$d" ] || exit {NO_ROOM}; trap \'cd /; rm -rf "$d"\' EXIT; trap "exit 1" HUP INT TERM; '
    f'cd "$d" || exit {NO_ROOM}; "$p" -c "$2"; exit $?'
)
"""Makes a private folder, runs Python in it, and removes it however Python ends.

One that a power cut left behind goes at the next visit, when it is older than a day.
"""
_BOOT = (
    "import base64,os,sys;"
    'sys.version_info<(3,6) and (sys.stderr.write("Python %d.%d.%d"%tuple(sys.version_info[:3])),'
    f"sys.stderr.flush(),os._exit({OLD_PYTHON}));"
    'exec(base64.b64decode(b"".join(iter(lambda:os.read(0,1),b"\\n"))))'
)
"""Reads the agent as one line of standard input and becomes it; says its version where that is too old."""


def command(address: str, python: str) -> list[str]:
    """The command that starts the agent's Python on a board; nothing in it is read by a shell unquoted.

    Raises `UnreachableError` where this machine has no `ssh`.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise UnreachableError("this machine has no 'ssh' command: install OpenSSH's client to reach boards.")
    options = [word for option in OPTIONS for word in ("-o", option)]
    words = ["exec", "/bin/sh", "-c", shlex.quote(_SHELL), "sh", shlex.quote(python), shlex.quote(_BOOT)]
    return [ssh, "-T", *options, "--", address, " ".join(words)]


def start(address: str, python: str, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the agent; what ssh and the board complain about goes to `errors`."""
    process = subprocess.Popen(
        command(address, python),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,  # an interrupt is for this process, which then says goodbye to the board
    )
    assert process.stdin is not None
    try:
        process.stdin.write(base64.b64encode(AGENT.read_bytes()) + b"\n")
        process.stdin.flush()
    except OSError:
        pass  # it ended at once: the caller hears why
    return process


def failure(address: str, python: str, code: int | None, words: str, *, started: bool) -> DeviceError:
    """What the end of an ssh process means, in one sentence; `words` are what it wrote to standard error."""
    said = _last_line(words)
    if code == NO_PYTHON:
        return DeviceSetupError(
            f"{address} has no '{python}': install Python 3.6 or newer there, or name its path by device.python=PATH."
        )
    if code == OLD_PYTHON:
        return DeviceSetupError(
            f"'{python}' on {address} is {said[:-1]}, and Python 3.6 or newer is needed: name another one by "
            "device.python=PATH."
        )
    if code == NO_ROOM:
        return DeviceError(f"no temporary folder could be made on {address}: {said} (its disk may be full).")
    if started and code == 0:
        return UnreachableError(f"{address} ended the connection, as it had heard nothing from here for minutes.")
    if started:
        ended = "" if code in (_SSH_FAILED, None) else f" (the process there ended with exit code {code})"
        return UnreachableError(f"the connection to {address} was lost midway{ended}: {said}")
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in words:
        return UnreachableError(
            f"the host key of {address} is not the one in known_hosts: the board was set up anew, or something else "
            f"answers in its place; if you know why, remove the old key by 'ssh-keygen -R' and log in once by ssh."
        )
    if "Host key verification failed" in words or "strict checking" in words:
        return UnreachableError(
            f"the host key of {address} is not known: log in once by 'ssh {address}' and compare its fingerprint."
        )
    if code in _CANNOT_RUN and not started:
        return DeviceSetupError(
            f"'{python}' cannot be run on {address} ({said[:-1]}): name a Python there by device.python=PATH."
        )
    if "Permission denied" in words or "Too many authentication failures" in words:
        return UnreachableError(
            f"{address} refused the login ({said}): 'ssh {address}' must work without a password (ssh-copy-id)."
        )
    if code == _SSH_FAILED:
        return UnreachableError(f"{address} could not be reached: {said}")
    return DeviceError(f"the measuring process on {address} ended at once with exit code {code}: {said}")


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1].rstrip(".") + "." if lines else "ssh said nothing."
