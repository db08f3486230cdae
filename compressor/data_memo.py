"""What an earlier run learned of a data set, so that `plan` knows the cache keys without reading the data again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressor import __version__
from compressor.cache import Cache, make_key
from compressor.config.schema import to_mapping
from compressor.data.presence import divide
from compressor.data.splits import Splits
from compressor.disk import write_text
from compressor.request import Request

_PARTS = ("train", "calibration", "search", "dev")


@dataclass(frozen=True)
class DataMemo:
    """Labels, fingerprints and sizes of a data set's parts."""

    labels: list[str]
    multi_label: bool
    fingerprints: dict[str, str]
    examples: dict[str, int]


def remember(request: Request, cache: Cache, data: Splits) -> None:
    """Keep what `recall` gives back."""
    memo = DataMemo(
        labels=list(data.labels),
        multi_label=data.multi_label,
        fingerprints=dict(data.fingerprints),
        examples={part: len(data.part(part)) for part in _PARTS},
    )
    with suppress(OSError):  # without it `plan` only knows less
        write_text(_file(request, cache), json.dumps(asdict(memo)))


def recall(request: Request, cache: Cache) -> DataMemo | None:
    """What an earlier run saw with the same settings, seed and files; None if there was none."""
    try:
        memo = DataMemo(**json.loads(_file(request, cache).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return memo if _is_whole(memo) else None


def _is_whole(memo: DataMemo) -> bool:
    by_part = (memo.fingerprints, memo.examples)
    return isinstance(memo.labels, list) and all(isinstance(it, dict) and set(_PARTS) <= set(it) for it in by_part)


def _file(request: Request, cache: Cache) -> Path:
    data = request.data
    locations = {"labels": data.labels}
    if data.source == "files":
        locations |= {"train": data.train, "dev": data.dev}
    files: dict[str, Any] = {}
    for name, location in locations.items():
        path = divide(location)[0] if location else None
        if path is not None and path.is_file():
            stat = path.stat()
            files[name] = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    parts = {
        "settings": to_mapping(request.data),
        "task": request.task,
        "seed": request.seed,
        "files": files,
        "version": __version__,
    }
    return cache.root / ".data" / f"{make_key('data', parts)}.json"
