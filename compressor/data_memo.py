"""What an earlier run learned of a data set, so that `plan` knows the cache keys without reading the data again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressor import __version__
from compressor.cache import Cache, make_key
from compressor.config.schema import to_mapping
from compressor.data.splits import Splits
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
    file = _file(request, cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(memo)), encoding="utf-8")
    temporary.replace(file)


def recall(request: Request, cache: Cache) -> DataMemo | None:
    """What an earlier run saw with the same settings, seed and files; None if there was none."""
    try:
        return DataMemo(**json.loads(_file(request, cache).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _file(request: Request, cache: Cache) -> Path:
    files: dict[str, Any] = {}
    if request.data.source == "files":
        for name in ("train", "dev", "labels"):
            path = getattr(request.data, name)
            if path is not None and Path(path).is_file():
                stat = Path(path).stat()
                files[name] = [str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns]
    parts = {
        "settings": to_mapping(request.data),
        "task": request.task,
        "seed": request.seed,
        "files": files,
        "version": __version__,
    }
    return cache.root / ".data" / f"{make_key('data', parts)}.json"
