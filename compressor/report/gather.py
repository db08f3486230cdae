"""Runs found by their manifests, under any number of folders, copied from any machines."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.artifact import manifest as manifests
from compressor.artifact.write import REFUSED
from compressor.errors import ArtifactError, RequestError
from compressor.report.entry import Entry, compared
from compressor.report.page import entry_of


@dataclass(frozen=True)
class Gathered:
    """What was found: runs with different names, and a sentence for each manifest or folder that cannot be shown."""

    entries: list[Entry]
    problems: list[str]


def gather(places: Sequence[Path]) -> Gathered:
    """Every run under the given folders (or manifest files, of any name); one that was copied is shown once.

    Raises:
        RequestError: A place is not there.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for place in places:
        if not place.exists():
            raise RequestError(f"{place} does not exist: give folders that hold the manifests of runs.")
        for file in sorted(_files(place, problems)):
            try:
                found = manifests.read_file(file)
            except ArtifactError as error:
                problems.append(str(error))
                continue
            same = (found.request_key, found.created, str(found.host.get("cpu")))
            if same in seen:
                continue
            entry, reason = entry_of(found, folder=str(file.parent if file.name == manifests.NAME else file))
            if entry is None:
                problems.append(f"{file} is damaged: {reason}.")
                continue
            seen.add(same)
            entries.append(entry)
    return Gathered(told_apart(by_machine(by_data(compared(entries)))), problems)


def _files(place: Path, problems: list[str]) -> Iterator[Path]:
    """Manifests; what runs keep for themselves (`.cache`, unfinished writes) is left out.

    A folder that cannot be read becomes one of the `problems`.
    """
    if place.is_file():
        yield place
        return

    def note(error: OSError) -> None:
        problems.append(f"{error.filename} cannot be read: {error.strerror}.")

    for folder, below, files in os.walk(place, onerror=note):
        below[:] = [name for name in below if not name.startswith(".") or name == REFUSED]
        if manifests.NAME in files:
            yield Path(folder, manifests.NAME)


def by_data(entries: Sequence[Entry]) -> list[Entry]:
    """Where data of one name had several held-out parts, the name with what tells them apart.

    Another `data.max_dev`, or another file of the same name: metrics on them cannot be compared.
    """
    parts: dict[tuple[str, str], set[str]] = {}
    held_out = [str(entry.manifest.data["fingerprints"]["dev"]) if entry.manifest else "" for entry in entries]
    for entry, part in zip(entries, held_out, strict=True):
        if part:  # what has no result yet is of no part
            parts.setdefault((entry.task, entry.data), set()).add(part)
    return [
        dataclasses.replace(entry, data=f"{entry.data} ({part[:6]})")
        if part and len(parts[entry.task, entry.data]) > 1
        else entry
        for entry, part in zip(entries, held_out, strict=True)
    ]


def by_machine(entries: Sequence[Entry]) -> list[Entry]:
    """Where figures for one device were taken on several machines, the device with the machine's name.

    Two laptops are both `host`, and figures for a board may come from the board itself and from elsewhere.
    """
    machines: dict[str, set[str]] = {}
    for entry in entries:
        if entry.measured_on:
            machines.setdefault(entry.device, set()).add(entry.measured_on)
    several = {device for device, places in machines.items() if len(places) > 1}
    return [
        dataclasses.replace(entry, device=_with_machine(entry))
        if entry.device in several and entry.measured_on
        else entry
        for entry in entries
    ]


def _with_machine(entry: Entry) -> str:
    """`host (a processor)`; of figures that are not the device's own `jetson (measured on a processor)`."""
    if entry.measured_on.startswith(f"{entry.device} ("):
        return entry.measured_on
    machine = str(entry.manifest.host.get("cpu") or "") if entry.manifest else ""
    return f"{entry.device} (measured on {machine or entry.measured_on})"


def told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Runs of one recipe, task, data and device get what differs in their commands, or their folder, as a name."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.name, entry.task, entry.data, entry.device), []).append(entry)
    named: dict[int, Entry] = {}
    for members in groups.values():
        shared = set.intersection(*(set(entry.command) for entry in members))
        differing = [" ".join(word for word in entry.command if word not in shared) for entry in members]
        for entry, words in zip(members, differing, strict=True):
            if len(members) > 1:
                unique = words and differing.count(words) == 1
                named[id(entry)] = entry.renamed(
                    f"{entry.name} {words}" if unique else f"{entry.name} ({entry.folder})"
                )
    return [named.get(id(entry), entry) for entry in entries]
