"""Many runs of one command: every combination of values, found again when it is repeated, shared among machines."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import traceback
from collections.abc import Sequence

from compressor import launchers
from compressor.console import Console, error, out, show_outcome, show_rows, simple_table
from compressor.errors import CompressorError, RequestError
from compressor.progress import Silent
from compressor.quiet import quieten
from compressor.report.entry import Entry
from compressor.report.page import measured
from compressor.sweep_jobs import Job, folder_of, make_jobs, share
from compressor.sweep_page import Record, Run, SweepPage


def run_job(job: Job) -> Record:
    """One run, from wherever it was left. Errors become a record, so that the others go on."""
    quieten()  # a launcher's process has not come through the command line
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


def run_and_note(job: Job, page: SweepPage) -> Record:
    """One run, and the page with what became of it; where that cannot be written, the other runs still go on."""
    record = run_job(job)
    _note(page, job, record)
    return record


def run_all(jobs: Sequence[Job], launcher: str | None, settings: Sequence[str], page: SweepPage) -> list[Record]:
    """One after the other here, or by a launcher of Hydra; `settings` are the launcher's."""
    if launcher is not None:
        quiet = [dataclasses.replace(job, quiet=True) for job in jobs]
        run = functools.partial(run_and_note, page=page)
        answers = launchers.launch(launcher, settings, run, quiet, page.folder)
        records = [one if isinstance(one, Record) else Record(1, f"{type(one).__name__}: {one}") for one in answers]
        for job, record, answer in zip(quiet, records, answers, strict=True):
            if record is not answer:  # the process itself went down, and could note nothing
                _note(page, job, record)
            _tell(job, record)
        return records
    records = []
    for count, job in enumerate(jobs, start=1):
        Console().line(f"run {count} of {len(jobs)}: {shlex.join(job.words)}")
        records.append(run_and_note(job, page))
        _tell(job, records[-1])
    return records


def run_sweep(
    settings: Sequence[str], config_dirs: Sequence[str], *, launcher: str | None = None, shard: str | None = None
) -> int:
    """The whole sweep: every run, its page, a table of all; the exit code is that of the first that failed.

    Raises:
        RequestError: Something is wrong with a combination, the launcher or the shard, before any run.
        StorageError: The page cannot be written.
    """
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
    if not mine:
        Console().line(f"nothing to do: the sweep has {len(jobs)} runs, none of them in shard {shard}")
        return 0
    page = SweepPage(folder_of(jobs, jobs[0].request().output), tuple(map(Run.of, jobs)), shlex.join(words))
    page.write()
    Console().line(f"the page of all runs, kept up to date: {page.file}")
    records = dict(zip([job.place for job in mine], run_all(mine, launcher, own, page), strict=True))
    _show(page.write(), jobs, records)
    Console().line(f"written: {page.file}, runs.json and runs.csv beside it")
    return next((record.exit_code for record in records.values() if record.exit_code), 0)


def _split(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's settings, and all others."""
    own = [word for word in settings if word.lstrip("+").startswith((f"{launchers.GROUP}=", launchers.SETTINGS))]
    return own, [word for word in settings if word not in own]


def _show(entries: Sequence[Entry], jobs: Sequence[Job], records: dict[int, Record]) -> None:
    """Every run with its state and exit code."""
    table = simple_table("run", "device", "data", "state", "exit code", "metric", "p50 ms", "measured", right=(4, 5, 6))
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
            "" if p50_ms is None else f"{p50_ms:.2f}{' noisy' if entry.noisy else ''}",
            measured(entry),
        )
    out().print(table)


def _note(page: SweepPage, job: Job, record: Record) -> None:
    try:
        page.note(job, record)
    except CompressorError as problem:
        error(f"{page.file}: {problem}")


def _tell(job: Job, record: Record) -> None:
    if record.exit_code:
        error(f"{shlex.join(job.words)}: {record.message}")
    elif job.quiet:
        Console().line(f"done: {shlex.join(job.words)}")
