"""Many runs of one command: every combination of values, found again when it is repeated, shared among machines."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor import launchers
from compressor.console import Console, error, out, show_outcome, show_rows, simple_table
from compressor.errors import CompressorError, RequestError
from compressor.progress import Silent
from compressor.report.entry import Entry
from compressor.request import Request, build
from compressor.request.overrides import sweep

FOLDER = ".sweeps"
"""Pages of sweeps, inside the output folder."""
_LONGEST = 80
_NOT_OF_THE_RESULT = ("output", "overwrite")


@dataclass(frozen=True)
class Job:
    """One run of a sweep, in words that another process can take up."""

    place: int
    words: tuple[str, ...]
    config_dirs: tuple[str, ...] = ()
    variant: str = ""
    quiet: bool = False  # beside others: no progress and no tables

    def request(self) -> Request:
        """What it asks for."""
        return dataclasses.replace(build(self.words, config_dirs=self.config_dirs), variant=self.variant)


@dataclass(frozen=True)
class Record:
    """How a run ended: exit code and error, and whether it was there already."""

    exit_code: int
    message: str = ""
    already_there: bool = False


def make_jobs(settings: Sequence[str], config_dirs: Sequence[str] = ()) -> list[Job]:
    """Every combination, checked; runs that would be written to one place get what differs as part of its name.

    Raises:
        RequestError: There is nothing to sweep, or a combination is wrong.
    """
    if not settings:
        raise RequestError("there is nothing to sweep: -m takes settings such as recipe=minilm,int8 seed=1,2.")
    combinations = sweep(settings)
    if not combinations:
        raise RequestError(f"there is nothing to sweep: {' '.join(settings)} has no combination.")
    requests = [build(words, config_dirs=config_dirs) for words in combinations]
    jobs = []
    for place, (words, request) in enumerate(zip(combinations, requests, strict=True)):
        others = [combinations[i] for i, other in enumerate(requests) if other.artifact == request.artifact]
        jobs.append(Job(place, tuple(words), tuple(config_dirs), _variant(words, others)))
    return jobs


def share(jobs: Sequence[Job], shard: str | None) -> list[Job]:
    """The jobs of one machine of several: `i/n`, counted from 1, takes every n-th from the i-th.

    Raises:
        RequestError: The shard is not two numbers with 1 <= i <= n.
    """
    if shard is None:
        return list(jobs)
    numbers = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise RequestError(f"--shard {shard} is not possible: give i/n, such as 1/3, 2/3 and 3/3 on three machines.")
    return list(jobs[int(numbers[1]) - 1 :: int(numbers[2])])


def run_job(job: Job) -> Record:
    """One run, from wherever it was left. Errors become a record, so that the others go on."""
    from compressor.pipeline import RefusedRunError
    from compressor.pipeline import run as run_pipeline

    try:
        outcome = run_pipeline(job.request(), Silent() if job.quiet else Console(), again=False)
    except CompressorError as problem:
        if isinstance(problem, RefusedRunError) and not job.quiet:
            show_rows(problem.rows, problem.verdicts)
        return Record(problem.exit_code, str(problem))
    except Exception as problem:  # a bug of ours must not end the other runs
        traceback.print_exc()
        return Record(1, f"{type(problem).__name__}: {problem} (this is a bug; please report it with the lines above)")
    if not job.quiet:
        show_outcome(outcome)
    return Record(0, already_there=outcome.already_there)


def run_all(jobs: Sequence[Job], launcher: str | None, settings: Sequence[str], folder: Path) -> list[Record]:
    """One after the other here, or by a launcher of Hydra; `settings` are the launcher's."""
    if launcher is not None:
        quiet = [dataclasses.replace(job, quiet=True) for job in jobs]
        answers = launchers.launch(launcher, settings, run_job, quiet, folder)
        records = [one if isinstance(one, Record) else Record(1, f"{type(one).__name__}: {one}") for one in answers]
        for job, record in zip(quiet, records, strict=True):
            _tell(job, record)
        return records
    records = []
    for count, job in enumerate(jobs, start=1):
        Console().line(f"run {count} of {len(jobs)}: {shlex.join(job.words)}")
        records.append(run_job(job))
        _tell(job, records[-1])
    return records


def run_sweep(
    settings: Sequence[str], config_dirs: Sequence[str], *, launcher: str | None = None, shard: str | None = None
) -> int:
    """The whole sweep: every run, its page, a table of all; the exit code is that of the first that failed.

    Raises:
        RequestError: Something is wrong with a combination, the launcher or the shard, before any run.
    """
    from compressor.report import tables
    from compressor.report.gather import told_apart
    from compressor.report.page import render
    from compressor.report.verb import PAGE

    own, words = _split(settings)
    named = [word.partition("=")[2] for word in own if word.startswith(f"{launchers.GROUP}=")]
    launcher = launcher or (named[-1] if named else None)
    own = [word for word in own if not word.startswith(f"{launchers.GROUP}=")]
    if own and launcher is None:
        raise RequestError(f"'{own[0]}' needs a launcher: add {launchers.GROUP}=NAME, such as joblib.")
    if launcher is not None:
        launchers.require(launcher)
    jobs = make_jobs(words, config_dirs)
    mine = share(jobs, shard)
    folder = folder_of(jobs, jobs[0].request().output)
    if not mine:
        Console().line(f"nothing to do: the sweep has {len(jobs)} runs, none of them in shard {shard}")
        return 0
    records = dict(zip([job.place for job in mine], run_all(mine, launcher, own, folder), strict=True))
    entries = told_apart(entries_of(jobs, records))
    title = f"A sweep of {len(jobs)} runs" if len(jobs) > 1 else "A sweep of one run"
    tables.write(folder, render(entries, title=title, lead=[shlex.join(words)]), entries, name=PAGE)
    _show(entries, jobs, records)
    Console().line(f"written: {folder / PAGE}, runs.json and runs.csv beside it")
    return next((record.exit_code for record in records.values() if record.exit_code), 0)


def entries_of(jobs: Sequence[Job], records: dict[int, Record]) -> list[Entry]:
    """All runs of the sweep as they stand now, those of other machines too where their results are here."""
    return [_entry(job, records.get(job.place)) for job in jobs]


def folder_of(jobs: Sequence[Job], output: Path) -> Path:
    """Where the page of a sweep is written: the same for the same sweep, whatever shard and launcher ran it."""
    words = sorted(" ".join(word for word in job.words if not _of_place(word)) for job in jobs)
    return output / FOLDER / f"sweep-{_digest(words)}"


def _split(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's settings, and all others."""
    own = [word for word in settings if word.lstrip("+").startswith((f"{launchers.GROUP}=", launchers.SETTINGS))]
    return own, [word for word in settings if word not in own]


def _show(entries: Sequence[Entry], jobs: Sequence[Job], records: dict[int, Record]) -> None:
    """Every run with its state and exit code."""
    table = simple_table("run", "device", "data", "state", "exit code", "metric", "p50 ms", right=(4, 5, 6))
    for entry, job in zip(entries, jobs, strict=True):
        record = records.get(job.place)
        metric, p50_ms = entry.value("metric"), entry.value("p50_ms")
        table.add_row(
            entry.name,
            entry.device,
            entry.data,
            f"{entry.state}, was there" if record and record.already_there else entry.state,
            str(record.exit_code) if record else "",
            "" if metric is None else f"{metric:.2f}",
            "" if p50_ms is None else f"{p50_ms:.2f}",
        )
    out().print(table)


def _tell(job: Job, record: Record) -> None:
    if record.exit_code:
        error(f"{shlex.join(job.words)}: {record.message}")
    elif job.quiet:
        Console().line(f"done: {shlex.join(job.words)}")


def _entry(job: Job, record: Record | None) -> Entry:
    from compressor.artifact import manifest as manifests
    from compressor.artifact.write import REFUSED
    from compressor.errors import ArtifactError

    request = job.request()
    refused = request.output / REFUSED / request.place
    failed = record is not None and record.exit_code not in (0, 3)
    for folder in () if failed else (request.artifact, refused):
        try:
            return Entry.from_manifest(manifests.read(folder), folder=str(folder))
        except ArtifactError:
            continue
    return Entry(
        name=request.recipe.name,
        state="missing" if record is None else "refused" if record.exit_code == 3 else "failed",
        task=request.task,
        data=request.data_name,
        device=request.device.name,
        recipe=request.recipe.name,
        command=request.command,
        reason="" if record is None else record.message,
    )


def _variant(words: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    """What tells these words from those of others, as part of a folder's name."""
    if len(others) < 2:
        return ""
    shared = set.intersection(*(set(one) for one in others))
    differing = [word.lstrip("+") for word in words if word not in shared and not _of_place(word)]
    text = re.sub(r"[^\w.,=+-]", "_", ",".join(differing))
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 9]}-{_digest([text])}"


def _of_place(word: str) -> bool:
    key = word.lstrip("+").partition("=")[0]
    return key in _NOT_OF_THE_RESULT


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
