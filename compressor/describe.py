"""The verb `describe`: a device's profile, why it decides what it decides, and what that does to recipes. No torch.

Stages, passes and recipes are described in `describe_method`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rich.text import Text

from compressor.config.device import DeviceProfile
from compressor.config.opset import choose_opset, file_version
from compressor.config.runtime import OLDEST_ATTENTION, fuse_layout, has_attention
from compressor.console import out, simple_table
from compressor.describe_method import describe_method, method_names
from compressor.devices import host, identity, profiles
from compressor.devices.limits import memory_limit_mb
from compressor.errors import CompressorError, RequestError, UnknownNameError
from compressor.graph.passes.quantize import scheme
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize_weights.requirements import check_device
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.request import build
from compressor.request.folders import choices, own_folder

Line = tuple[str, str, str]
"""What is decided, how, and why or what it means."""

_FORMATS = {
    "float32": "no pass changes it",
    "float16": "the passes cast and quantize write float16",
    "dynamic_int8": "int8 weights; activations are measured in each call, so no calibration",
    "static_int8": "int8 weights and activations, with ranges from calibration data",
}
_DIALS = {
    "optional": "the artifact's own setting unless the caller gives another one",
    "required": "its runtime drops inputs that have a default, so every caller gives the dial's setting",
    "fixed": "its runtime takes no such input: one file a setting",
}
_POWER = {
    "none": "no meter of its own: measure.meter_log=FILE reads the log of one in the supply",
    "rapl": "the processor's RAPL counters, where the system lets us read them",
    "ina3221": "the board's INA3221 power monitor",
}


_OF_DEVICE = ("opset", "max_memory_mb")
"""Settings of a recipe that a device can refuse."""


def describe(words: Sequence[str], settings: Sequence[str], config_dirs: Sequence[str]) -> int:
    """Print a device's profile (`settings` are device.KEY=VALUE), or the settings of a stage, a pass or a recipe.

    `device=NAME`, as other verbs take it, names a device too.

    Raises `RequestError` and `UnknownNameError`.
    """
    own = [own_folder(place) for place in config_dirs]
    words = [*words, *(word.partition("=")[2] for word in settings if word.startswith("device="))]
    settings = [word for word in settings if not word.startswith("device=")]
    if len(words) != 1:
        raise RequestError(
            "describe needs one device, stage, pass or recipe: python -m compressor describe NAME (see list)."
        )
    for setting in settings:
        if not setting.startswith("device."):
            raise RequestError(f"'{setting}' means nothing to describe: it takes device.KEY=VALUE.")
    devices = choices("device", own)
    if words[0] not in devices:
        return _describe_other(words[0], settings, own, devices)
    request = build([f"device={words[0]}", *settings], config_dirs=config_dirs)
    _print(request.device, devices[words[0]], own)
    return 0


def _describe_other(name: str, settings: Sequence[str], own: Sequence[Path], devices: Collection[str]) -> int:
    """A stage, a pass or a recipe; the nearest of all names where there is none."""
    others = method_names(own)
    if name in others and settings:
        raise RequestError(f"'{settings[0]}' means nothing to describe {name}: only devices take device.KEY=VALUE.")
    if not describe_method(name, own):
        close = difflib.get_close_matches(name, [*devices, *others], n=1, cutoff=0.5)
        kind = "device" if close and close[0] in devices else "device, stage, pass or recipe"
        raise UnknownNameError(kind, name, [*devices, *others])
    return 0


def _print(profile: DeviceProfile, file: Path, own: Sequence[Path]) -> None:
    console = out()
    console.print(Text(f"{profile.name}: {profile.description}"), style="bold")
    console.print(Text(this_machine(profile)))
    console.print()
    sections = [
        ("decision", list(decisions(profile))),
        ("what it changes in recipes", list(consequences(profile, own))),
    ]
    if profile.name == profiles.HOST:
        sections.insert(1, ("probed", list(probed())))
    for title, lines in sections:
        table = simple_table(title, "", "")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        console.print()
    console.print(Text(f"why: {profile.why}"))
    console.print(Text(f"from: {file}"))
    for source in profile.sources:
        console.print(Text(f"  {source}"))


def this_machine(profile: DeviceProfile) -> str:
    """Whether figures taken here are the device's own, and if not, what tells them apart."""
    if identity.is_this_machine(profile):
        return f"This machine is one ({host.cpu_model()}): gates on speed are judged here."
    reason = identity.mismatch(profile, identity.facts_here(profile)) or "it names a board"
    return f"This machine is none: {reason}. Figures taken here are labelled so, and gates on speed are not judged."


def decisions(profile: DeviceProfile) -> Iterator[Line]:
    """What the profile says, each with what it means."""
    opset = choose_opset(None, profile)
    oldest, newest = profile.runtime_version, profile.runtime_newest
    version = f"{oldest or 'any version'}{f' to {newest}' if newest else ' or newer' if oldest else ''}"
    python = f"Python {profile.oldest_python} or newer" if profile.oldest_python else "any Python that has it"
    yield "runtime", f"{profile.runtime} {version}", python
    options = {one.name: one.options for one in profile.providers if one.options}
    order = "in this order" if len(profile.providers) > 1 else ""
    yield "providers", ", ".join(one.name for one in profile.providers), str(options or order)
    yield "number format", profile.number_format, _FORMATS[profile.number_format]
    if profile.number_format.endswith("int8"):
        bits = "7 bits: sums of two byte products saturate" if profile.reduce_range else "8 bits: sums are widened"
        yield "int8 weights", bits, "one scale a channel" if profile.per_channel else "one scale a tensor"
    if profile.number_format == "static_int8" or profile.activation_signed:
        kind = "signed" if profile.activation_signed else "unsigned"
        shape = "symmetric" if profile.activation_symmetric else "asymmetric"
        yield "int8 activations", f"{kind}, {shape}", "of number_format=static_int8"
    yield "operator set", str(opset), f"in ONNX file version {file_version(opset)}; export.opset=N for an older one"
    yield "length dial", profile.dial, _DIALS[profile.dial]
    threads = f"{profile.threads or 'all cores'}"
    yield "threads", threads, "of one operator; on a machine with fewer cores, as many as it has"
    limit = memory_limit_mb(profile)
    yield (
        "memory", f"{profile.memory_mb:.0f} MiB" if profile.memory_mb else "not limited",
        f"{limit:.0f} MiB are left to a process: {_tried(profile)}" if limit else "no limit is tried",
    )  # fmt: skip
    yield "power", profile.power, _POWER[profile.power]
    if profile.emulated_cpu:
        yield "emulation", profile.emulated_cpu, "device.emulate=true compares answers with those of its kernels"


def _tried(profile: DeviceProfile) -> str:
    """Whether a file is run under the limit."""
    on_cpu = profile.runs_on_cpu
    return "it is measured under this limit" if on_cpu else "where a GPU runs the file, it is not run under this limit"


def probed() -> Iterator[Line]:
    """What this machine says of itself."""
    facts = host.describe()
    yield "processor", facts["cpu"], f"{facts['cores']} cores that we may use, {facts['machine']}"
    yield "instruction sets", " ".join(facts["flags"]) or "none that kernels ask for", ""
    caches = ", ".join(f"{name} {size_kb} KiB" for name, size_kb in host.caches().items())
    yield "caches", caches or "the system does not say", "of the first core"
    yield "memory", f"{facts['memory_mb']} MiB" if facts["memory_mb"] else "the system does not say", ""
    yield "system", facts["os"], f"onnxruntime {facts['libraries'].get('onnxruntime', 'is missing')}"


def consequences(profile: DeviceProfile, own: Sequence[Path]) -> Iterator[Line]:
    """What passes do for this device, and which recipes it refuses."""
    layout = fuse_layout(profile, choose_opset(None, profile))
    attention = "MultiHeadAttention" if has_attention(profile) else "plain products in length-adaptive graphs"
    oldest = ".".join(map(str, OLDEST_ATTENTION))
    why = "fast on its first provider" if has_attention(profile) else f"MultiHeadAttention is right from {oldest} on"
    if profile.providers and profile.providers[0].name == "TensorrtExecutionProvider":
        why = "what is fused runs on the next provider, the rest on TensorRT"
    yield "fuse", f"layout {layout}, {attention}", why
    found = scheme.resolve(QuantizeSettings(), profile)
    what = {"none": "nothing: float32", "float16": "float16"}.get(found.mode, f"{found.mode} int8")
    yield "quantize", what, f"layout {found.layout}" if found.mode == "static" else ""
    for bits in (4, 8):
        try:
            check_device(QuantizeWeightsSettings(bits=bits), profile)
        except CompressorError as error:
            yield f"quantize_weights, {bits} bits", "refused", str(error).partition(": ")[2]
    dirs = [str(place) for place in own]
    for name, file in sorted(choices("recipe", own).items()):
        if not any(key in file.read_text(encoding="utf-8") for key in _OF_DEVICE):
            continue
        reason = _refusal([f"recipe={name}", f"device={profile.name}"], dirs)
        if reason and not _refusal([f"recipe={name}"], dirs):
            yield f"recipe {name}", "refused", reason


def _refusal(settings: Sequence[str], config_dirs: Sequence[str]) -> str:
    """Why a request is refused; empty if it is not."""
    try:
        build(settings, config_dirs=config_dirs)
    except CompressorError as error:
        return str(error)
    return ""
