"""The emulator's files, in a folder of the user's cache: QEMU, and a 64-bit Arm Python with ONNX Runtime and numpy.

They come from the package sources of a Debian machine and from the Python package index, by `apt-get` and `pip`, need
no rights and change nothing outside of the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compressor.config.runtime import release
from compressor.devices.arm_cores import guest_root
from compressor.disk import write_text
from compressor.errors import DeviceError, StorageError
from compressor.progress import Progress

INSTALL = "python -m compressor emulator install"
_QEMU = ("qemu-aarch64-static", "qemu-aarch64")
_QEMU_PACKAGES = ("qemu-user-static", "qemu-user")
_ARCHITECTURE = "arm64"
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1")
_GLIBC = (17, 26, 27, 28, 31, 34)
"""Minor versions of the C library whose wheels the Debian system runs."""
_NUMPY_1 = (1, 19)
"""ONNX Runtime before this one needs numpy 1."""
_RECORD = "emulator.json"
_USUAL = "cortex-a72"
_ABOUT = (
    "import json, sys, numpy, onnxruntime; "
    "print(json.dumps([sys.version.split()[0], numpy.__version__, onnxruntime.__version__]))"
)


@dataclass(frozen=True)
class Emulator:
    """An emulator that is ready: where its parts are, and what they are."""

    qemu: str
    system: str  # the root folder of the Arm system
    python: str  # the Arm Python, a path on this machine
    site: str  # its packages
    version: str  # "QEMU 7.2.22"
    python_version: str
    numpy_version: str
    onnxruntime_version: str


def folder() -> Path:
    """Where everything is: `compressor/aarch64` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "compressor" / "aarch64"


def here() -> str:
    """The version of ONNX Runtime on this machine, which the emulated one is to have too."""
    import onnxruntime  # whatever package it is of: onnxruntime-gpu has it too

    return str(onnxruntime.__version__).partition("+")[0]


def installed(onnxruntime: str | None = None) -> Emulator:
    """The emulator with one version of ONNX Runtime (None: this machine's).

    Raises `DeviceError` that says how to install it.
    """
    version = onnxruntime or here()
    record = _site(version) / _RECORD
    try:
        found = Emulator(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        more = "" if version == here() else f" onnxruntime={version}"
        raise DeviceError(f"no emulator with ONNX Runtime {version} is installed: run `{INSTALL}{more}`.") from error
    if not all(Path(path).exists() for path in (found.qemu, found.python, found.site)):
        raise DeviceError(f"the emulator in {folder()} is not whole any more: run `{INSTALL}` again.")
    return found


def versions() -> list[str]:
    """Versions of ONNX Runtime that are installed for it."""
    return sorted(path.parent.name.removeprefix("onnxruntime-") for path in folder().glob(f"onnxruntime-*/{_RECORD}"))


def remove() -> None:
    """Remove all of it."""
    shutil.rmtree(folder(), ignore_errors=True)


def install(onnxruntime: str | None, progress: Progress) -> Emulator:
    """Fetch what is missing of the emulator with one version of ONNX Runtime (None: this machine's).

    Raises `DeviceError` with the last words of what failed, and `StorageError`.
    """
    version = onnxruntime or here()
    try:
        folder().mkdir(parents=True, exist_ok=True)
        system, qemu = _system(progress)
        site = _packages(version, _python(system), progress)
        python = str(_python(system))
        with tempfile.TemporaryDirectory(dir=folder(), prefix=".new-") as place:
            root = str(guest_root(system, _USUAL, 1, Path(place)))
            start = [qemu, "-L", root, "-cpu", _USUAL, python]
            about = json.loads(_run([*start, "-c", _ABOUT], python_environment(system, site)))
        found = Emulator(qemu, str(system), python, str(site), _qemu_version(qemu), *about)
        write_text(site / _RECORD, json.dumps(asdict(found), indent=2))
    except OSError as error:
        raise StorageError(f"the emulator's files could not be written: {error}") from error
    return found


def python_environment(system: Path | str, site: Path | str) -> dict[str, str]:
    """Variables by which the Arm Python finds its library and packages, and nothing of this machine's."""
    return {"PYTHONHOME": f"{system}/usr", "PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1", "HOME": f"{system}/home"}


def _site(version: str) -> Path:
    return folder() / f"onnxruntime-{version}"


def _python(system: Path) -> Path:
    found = sorted((system / "usr/bin").glob("python3.[0-9]*[0-9]"))
    if not found:
        raise DeviceError(f"there is no Python in {system}: remove that folder and run `{INSTALL}` again.")
    return found[-1]


def _system(progress: Progress) -> tuple[Path, str]:
    """The unpacked Arm system and QEMU, fetched where they are not there yet."""
    system, own = folder() / "system", folder() / _QEMU[0]
    present = next((path for name in _QEMU if (path := shutil.which(name))), None) or (str(own) if own.exists() else "")
    if system.is_dir() and present:
        return system, present
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise DeviceError(f"the emulator is put together from Debian's packages, and there is no {program} here.")
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".new-") as place:
        new = Path(place)
        options = _apt(new)
        progress.line("fetching the package lists of 64-bit Arm")
        _run(["apt-get", *options, "-q", "update"])
        if not present:
            progress.line("fetching QEMU")
            _unpack_qemu(new, options, own)
        if not system.is_dir():
            progress.line("fetching a 64-bit Arm Python")
            _run(["apt-get", *options, "-qy", "--no-install-recommends", "--download-only", "install", *_PACKAGES])
            for package in sorted((new / "cache/archives").glob("*.deb")):
                _run(["dpkg-deb", "-x", str(package), str(new / "system")])
            for name in ("lib", "bin"):  # where a distribution's own package makes these links, none was unpacked
                if not (new / "system" / name).exists():
                    (new / "system" / name).symlink_to(f"usr/{name}")
            (new / "system").rename(system)
    return system, present or str(own)


def _apt(new: Path) -> list[str]:
    """Options by which apt keeps to lists and a cache of its own, for a machine that has nothing yet."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (new / name).mkdir(parents=True)
    (new / "state/status").touch()
    native = _run(["dpkg", "--print-architecture"]).strip()
    chosen = {
        "APT::Architecture": _ARCHITECTURE,
        "Dir::State": new / "state",
        "Dir::State::status": new / "state/status",
        "Dir::Cache": new / "cache",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
    }
    settings = [f"{key}={value}" for key, value in chosen.items()]
    settings += [f"APT::Architectures::={name}" for name in dict.fromkeys((_ARCHITECTURE, native))]
    return [part for setting in settings for part in ("-o", setting)]


def _unpack_qemu(new: Path, options: Sequence[str], target: Path) -> None:
    """Take QEMU for this machine's processor out of its package."""
    native = _run(["dpkg", "--print-architecture"]).strip()
    for package in _QEMU_PACKAGES:
        (new / package).mkdir()
        _run(["apt-get", *options, "-q", "download", f"{package}:{native}"], folder=new / package)
        for archive in (new / package).glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), str(new / package)])
        found = next((path for name in _QEMU if (path := new / package / "usr/bin" / name).is_file()), None)
        if found is not None:
            shutil.copy2(found, target)
            return
    raise DeviceError(f"{' and '.join(_QEMU_PACKAGES)} hold no {_QEMU[0]}: install QEMU for user programs.")


def _packages(version: str, python: Path, progress: Progress) -> Path:
    """The wheels of ONNX Runtime and numpy for the Arm Python, unpacked."""
    site = _site(version)
    if (site / _RECORD).exists():
        return site
    progress.line(f"fetching ONNX Runtime {version} and numpy for 64-bit Arm")
    tags = [f"manylinux_2_{minor}_aarch64" for minor in _GLIBC] + ["manylinux2014_aarch64"]
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".new-") as place:
        new = Path(place) / "site"
        _run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile",
                "--target", str(new), "--implementation", "cp",
                "--python-version", python.name.removeprefix("python"),
                *[part for tag in tags for part in ("--platform", tag)],
                f"onnxruntime=={version}", "numpy<2" if release(version) < _NUMPY_1 else "numpy",
            ]
        )  # fmt: skip
        shutil.rmtree(site, ignore_errors=True)
        new.rename(site)
    return site


def _qemu_version(qemu: str) -> str:
    words = _run([qemu, "--version"]).split()
    return f"QEMU {words[words.index('version') + 1]}"


def _run(command: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """A command's output; raises `DeviceError` with its last words when it fails."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", **(environment or {})},
    )
    if done.returncode:
        words = " ".join((done.stderr.strip() or done.stdout.strip())[-400:].split())
        name = "pip" if "pip" in command[:3] else Path(command[0]).name
        raise DeviceError(f"the emulator could not be installed: {name} failed: {words}")
    return done.stdout
