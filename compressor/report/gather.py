"""Runs found by their manifests, under any number of folders, copied from any machines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.artifact import manifest as manifests
from compressor.artifact.write import REFUSED
from compressor.errors import ArtifactError, RequestError
from compressor.report.entry import Entry
from compressor.report.page import entry_of


@dataclass(frozen=True)
class Gathered:
    """What was found: runs with different names, and a sentence for each manifest that cannot be shown."""

    entries: list[Entry]
    problems: list[str]


def gather(places: Sequence[Path]) -> Gathered:
    """Every run under the given folders (or manifest files); one that was copied is shown once.

    Raises:
        RequestError: A place is not there.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for place in places:
        if not place.exists():
            raise RequestError(f"{place} does not exist: give folders that hold the manifests of runs.")
        for folder in sorted(_folders(place)):
            try:
                found = manifests.read(folder)
            except ArtifactError as error:
                problems.append(str(error))
                continue
            same = (found.request_key, found.created, str(found.host.get("cpu")))
            if same in seen:
                continue
            entry, reason = entry_of(found, folder=str(folder))
            if entry is None:
                problems.append(f"{folder / manifests.NAME} is damaged: {reason}.")
                continue
            seen.add(same)
            entries.append(entry)
    return Gathered(told_apart(entries), problems)


def _folders(place: Path) -> Iterator[Path]:
    """Folders with a manifest; what runs keep for themselves (`.cache`, unfinished writes) is left out."""
    if place.is_file():
        yield place.parent
        return
    for folder, below, files in os.walk(place):
        below[:] = [name for name in below if not name.startswith(".") or name == REFUSED]
        if manifests.NAME in files:
            yield Path(folder)


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
