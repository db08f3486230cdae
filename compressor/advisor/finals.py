"""A candidate as a full run of its own recipe, with the limits as gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.advisor.limits import Limit, Values, missed, with_device_memory
from compressor.advisor.prices import Priced, out_of_memory, too_little_mb
from compressor.advisor.requests import Question, own_words, write_recipe
from compressor.artifact import manifest as manifests
from compressor.artifact.manifest import Manifest
from compressor.artifact.write import REFUSED
from compressor.devices import rounds
from compressor.errors import (
    ArtifactExistsError,
    CompressorError,
    DeviceError,
    DeviceMemoryError,
    GateRefusedError,
    StorageError,
)
from compressor.pipeline import run
from compressor.progress import Progress
from compressor.report.entry import Entry
from compressor.report.steadiness import Steadiness
from compressor.request import build

_FIGURES = {
    "min_metric": "metric",
    "max_latency_ms": "p50_ms",
    "max_memory_mb": "peak_memory_mb",
    "max_size_mb": "size_mb",
}
"""The figure that each limit is held against, by its name on the page."""


@dataclass(frozen=True)
class Final:
    """A full run: its manifest where it came to one, whether every limit is met, and where its files are."""

    name: str
    met: bool
    manifest: Manifest | None
    folder: Path
    reason: str = ""  # why it does not fit, or failed
    noise: str = ""  # why a latency that misses its limit is not to be believed

    def values(self) -> Values:
        """Its figures by the names of the limits."""
        if self.manifest is None:
            return {}
        entry = Entry.from_manifest(self.manifest)
        return {limit: entry.value(figure) for limit, figure in _FIGURES.items()}


def run_final(
    question: Question,
    chosen: Priced,
    limits: Sequence[Limit],
    progress: Progress,
    fastest_ms: float | None = None,
) -> Final:
    """Make the candidate for good: exactly what its command makes, so that the command then finds it.

    An artifact of the same name that an earlier advice with other limits made is replaced. Limits on latency and
    memory are held against the figures taken even where those are not the device's own; the run itself then calls them
    not judged. A latency that misses its limit on a machine that was too noisy is measured once more; `fastest_ms` is
    the fastest yardstick known there. Raises `StorageError` and, unless it runs out of memory, `DeviceError`; other
    failures are the result.
    """
    final = _once(question, chosen, limits, progress, fastest_ms)
    if final.noise:
        progress.line(f"{chosen.name} misses a limit on a machine that was too noisy ({final.noise}): once more")
        final = _once(question, chosen, limits, progress, fastest_ms)
    return final


def _once(
    question: Question, chosen: Priced, limits: Sequence[Limit], progress: Progress, fastest_ms: float | None
) -> Final:
    write_recipe(question, chosen.candidate)
    request = build(own_words(question, chosen.candidate), config_dirs=[*question.config_dirs, str(question.folder)])
    progress.line(f"full run of {chosen.name}")
    folder, refused = request.artifact, ""
    try:
        try:
            run(request, progress)
        except ArtifactExistsError:
            run(dataclasses.replace(request, overwrite=True), progress)
    except GateRefusedError as refusal:
        folder, refused = request.output / REFUSED / request.place, str(refusal)
        if not folder.is_dir():  # nothing to judge by: a teacher that has learnt nothing
            return Final(chosen.name, False, None, folder, refused)
    except DeviceMemoryError:
        return Final(chosen.name, False, None, folder, out_of_memory(request.device))
    except (StorageError, DeviceError):
        raise
    except CompressorError as error:
        return Final(chosen.name, False, None, folder, str(error))
    manifest = manifests.read(folder)
    final = Final(chosen.name, True, manifest, folder)
    wrong = with_device_memory(missed(final.values(), limits), too_little_mb(manifest.speed.get("artifact", {})))
    reason = "; ".join(limit.said(final.values()[limit.name] or 0.0) for limit in wrong) or refused
    slow = any(limit.name == "max_latency_ms" for limit in wrong)
    doubts = Steadiness.of_run(manifest).beside(fastest_ms).doubts if slow else []
    reason += f" ({rounds.said(doubts)})" if doubts else ""
    return dataclasses.replace(final, met=not reason, reason=reason, noise=" and ".join(doubts))
