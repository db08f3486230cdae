"""The page of a sweep: all its runs as they stand, written before the first one and after each that changes it.

So it is there whatever ends the sweep. How each run ended is kept beside it, one file a run, which runs in other
processes and shards on other machines write too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compressor.artifact import manifest as manifests
from compressor.artifact.manifest import Manifest
from compressor.artifact.write import REFUSED
from compressor.disk import storage_errors, write_text
from compressor.errors import ArtifactError
from compressor.report import tables
from compressor.report.entry import Entry, compared
from compressor.report.gather import by_data, told_apart
from compressor.report.page import entry_of, render
from compressor.report.verb import PAGE
from compressor.sweep_jobs import Job

ENDED = "ended"
"""The folder with how each run ended, beside the page."""


@dataclass(frozen=True)
class Record:
    """How a run ended: exit code and error, and whether it was there already."""

    exit_code: int
    message: str = ""
    already_there: bool = False


@dataclass(frozen=True)
class Ended:
    """What is kept of a run that ended. `request_key` is of the manifest that it wrote or found; empty: none."""

    exit_code: int
    message: str = ""
    request_key: str = ""


@dataclass(frozen=True)
class Run:
    """What the page needs to know of one run: who it is, and where its result would lie."""

    name: str  # of its file in the folder `ENDED`
    folders: Mapping[int, Path]  # by exit code: the artifact, the report of a refusal
    entry: Entry  # as long as it has no result

    @classmethod
    def of(cls, job: Job) -> Run:
        """The run of a job."""
        request = job.request()
        entry = Entry(
            name=request.recipe.name,
            state="missing",
            task=request.task,
            data=request.data_name,
            device=request.device.name,
            recipe=request.recipe.name,
            command=request.command,
        )
        return cls(job.name, {0: request.artifact, 3: request.output / REFUSED / request.place}, entry)

    def result(self, exit_code: int) -> tuple[Manifest, Path] | None:
        """What lies where a run writes that ends with this exit code, and in which folder."""
        try:
            folder = self.folders[exit_code]
            return manifests.read(folder), folder
        except (KeyError, ArtifactError):
            return None

    def shown(self, ended: Ended | None) -> Entry:
        """As it stands: with its result, if that is its own and not what another request wrote to the same place."""
        for exit_code in self.folders if ended is None else (ended.exit_code,):
            manifest, folder = self.result(exit_code) or (None, None)
            if manifest is None:
                continue
            same = sorted(manifest.command) == sorted(self.entry.command)
            if same or (ended is not None and manifest.request_key == ended.request_key):
                found, _ = entry_of(manifest, folder=str(folder))
                if found is not None:
                    return found
        if ended is None or ended.exit_code == 0:
            return self.entry
        return dataclasses.replace(
            self.entry, state="refused" if ended.exit_code == 3 else "failed", reason=ended.message
        )


@dataclass(frozen=True)
class SweepPage:
    """Where a sweep's page is, and what it shows."""

    folder: Path
    runs: tuple[Run, ...]
    command: str  # the words that were swept

    @property
    def file(self) -> Path:
        """The page itself."""
        return self.folder / PAGE

    def write(self) -> list[Entry]:
        """The page with its tables: all runs as they stand now, those of other processes and machines too.

        Returns what it shows. Raises `StorageError`.
        """
        entries = told_apart(by_data(compared([run.shown(self._ended(run.name)) for run in self.runs])))
        title = f"A sweep of {len(entries)} runs" if len(entries) > 1 else "A sweep of one run"
        lead, missing = [self.command], sum(entry.state == "missing" for entry in entries)
        if missing:
            lead.append(f"{missing} of {len(entries)} have no result yet: the same command goes on with them.")
        tables.write(self.folder, render(entries, title=title, lead=lead), entries, name=PAGE)
        return entries

    def note(self, job: Job, record: Record) -> None:
        """Keep how a run ended, and write the page anew if that is news. Raises `StorageError`."""
        run = self.runs[job.place]
        found = run.result(0) if record.exit_code == 0 else None
        ended = Ended(record.exit_code, record.message, found[0].request_key if found else "")
        if ended == self._ended(run.name) and self.file.is_file():
            return
        with storage_errors(self.folder):
            write_text(self._file(run.name), json.dumps(vars(ended), indent=2) + "\n")
        self.write()

    def _file(self, name: str) -> Path:
        return self.folder / ENDED / f"{name}.json"

    def _ended(self, name: str) -> Ended | None:
        try:
            return Ended(**json.loads(self._file(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not there, or not whole: then it is not known
            return None
