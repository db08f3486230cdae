"""The runs of a sweep: every combination of values, where each goes, and which of them are one machine's."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import RequestError
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

    @property
    def name(self) -> str:
        """Of its files: the same for the same words, in whatever order the sweep names its values."""
        return _digest(sorted(word for word in self.words if not _of_place(word)))


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


def folder_of(jobs: Sequence[Job], output: Path) -> Path:
    """Where the page of a sweep is written: the same for the same sweep, whatever shard and launcher ran it."""
    words = sorted(" ".join(word for word in job.words if not _of_place(word)) for job in jobs)
    return output / FOLDER / f"sweep-{_digest(words)}"


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
