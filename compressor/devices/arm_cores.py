"""Arm cores that QEMU emulates: what Linux would say of them, from which ONNX Runtime chooses its kernels."""

from __future__ import annotations

from pathlib import Path

_OLD = "fp asimd evtstrm crc32 cpuid"  # Armv8.0
_NEW = f"{_OLD} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"  # Armv8.2 with float16 and dot products
CORES: dict[str, tuple[str, str]] = {
    "cortex-a53": ("0xd03", _OLD),
    "cortex-a57": ("0xd07", _OLD),
    "cortex-a72": ("0xd08", _OLD),
    "cortex-a76": ("0xd0b", _NEW),
    "neoverse-n1": ("0xd0c", _NEW),
}
"""QEMU's name: the part number and the features that /proc/cpuinfo shows."""

HWCAP_DOT_PRODUCT = 1 << 20
"""The bit of AT_HWCAP by which the kernel says that there are dot-product instructions (asimddp)."""


def guest_root(system: Path, cpu: str, cores: int, root: Path) -> Path:
    """Lay a root folder over an unpacked system, with a /proc/cpuinfo of the emulated cores.

    User-mode emulation shows this machine's own /proc/cpuinfo, which tells ONNX Runtime nothing of Arm cores: it
    crashes on it (1.31, on x86).
    """
    (root / "proc").mkdir(parents=True)
    for entry in system.iterdir():
        if entry.name != "proc":
            (root / entry.name).symlink_to(entry)
    part, features = CORES[cpu]
    lines = [
        f"processor\t: {core}\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
        for core in range(cores)
    ]
    (root / "proc" / "cpuinfo").write_text("\n".join(lines), encoding="utf-8")
    return root
