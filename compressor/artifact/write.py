"""Write an artifact: everything into a sibling folder, checked there, then swapped in."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import compressor
from compressor.artifact import card, sample, swap
from compressor.artifact.config import copy_tokenizer
from compressor.artifact.formats import weight_formats
from compressor.artifact.manifest import NAME, Manifest, read, sha256
from compressor.artifact.verify import verify
from compressor.errors import ArtifactError, ArtifactExistsError, StorageError

MODEL = "model.onnx"
REFUSED = ".refused"


def write_artifact(
    target: Path,
    *,
    model: Path,
    config: Mapping[str, Any],
    tokenizer: Path,
    manifest: Manifest,
    page: Callable[[Manifest], str],
    halves: Sequence[Path] = (),
    overwrite: bool = False,
) -> Manifest:
    """Write the artifact folder `target` and return its manifest with the hashes of all files.

    `config` is the stock `config.json`, `tokenizer` a folder with tokenizer files, `page` makes `report.html`, `halves`
    are further graphs of the same model that keep their names. The folder is verified before it is put in place; an
    older artifact is replaced only with `overwrite`, and kept if anything fails.

    Raises:
        ArtifactExistsError: `target` is there and `overwrite` is not set, or it is not an artifact of ours.
        ArtifactError: What was written does not pass `verify`.
        StorageError: The disk refuses; nothing is left behind.
    """
    from compressor.graph import metadata

    swap.mend(target)
    require_free(target, overwrite)
    with swap.building(target) as folder:
        for source, name in [(model, MODEL), *((half, half.name) for half in halves)]:
            shutil.copyfile(source, folder / name)
            metadata.write(folder / name, metadata_entries(manifest))
        _write_json(folder / "config.json", config)
        copy_tokenizer(tokenizer, folder, int(manifest.preprocessing["max_length"]))
        shutil.copyfile(str(sample.__file__), folder / "sample.py")
        manifest = dataclasses.replace(manifest, weights=weight_formats(folder / MODEL))
        if manifest.halves:
            sizes = {half.name: (folder / half.name).stat().st_size for half in halves}
            manifest = dataclasses.replace(manifest, halves=dataclasses.replace(manifest.halves, sizes=sizes))
        (folder / "README.md").write_text(card.render(manifest, (folder / MODEL).stat().st_size), encoding="utf-8")
        (folder / "report.html").write_text(page(manifest), encoding="utf-8")
        hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        finished = dataclasses.replace(manifest, files=hashes)
        (folder / NAME).write_text(finished.to_json(), encoding="utf-8")
        verify(folder)
    return finished


def write_refused(exports: Path, place: Path, manifest: Manifest, page: str) -> Path:
    """Keep the report (`page`) of a run that a gate refused, in `exports/.refused/<place>`; returns that folder.

    It holds the report and the manifest, and no model. Raises `StorageError` when the disk refuses.
    """
    target = exports / REFUSED / place
    with swap.building(target) as folder:
        (folder / "report.html").write_text(page, encoding="utf-8")
        (folder / NAME).write_text(manifest.to_json(), encoding="utf-8")
    return target


def refused_before(exports: Path, place: Path, request_key: str) -> Path | None:
    """The folder of the report, if a gate has refused this very request, else None."""
    folder = exports / REFUSED / place
    try:
        return folder if read(folder).request_key == request_key else None
    except ArtifactError:
        return None


def drop_refused(exports: Path, place: Path) -> None:
    """Forget an earlier refusal, once the same place has an artifact."""
    try:
        shutil.rmtree(exports / REFUSED / place)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot remove {exports / REFUSED / place}: {error}.") from error


def metadata_entries(manifest: Manifest) -> dict[str, str]:
    """What the graph says of itself (`compressor.` is put in front of each name); all values are text."""
    return {
        "version": compressor.__version__,
        "recipe": str(manifest.request.get("recipe", {}).get("name", "")),
        "recipe_hash": manifest.request_key,
        "task": manifest.task,
        "teacher": str(manifest.teacher.get("name", "")),
        "device": str(manifest.device.get("name", "")),
        "metric": json.dumps(manifest.metrics),
        "versions": json.dumps(manifest.versions),
    }


def existing(target: Path, request_key: str) -> Manifest | None:
    """The manifest of an artifact that the same request has written before and that still verifies, else None.

    Raises `ArtifactError` when it is of this request but damaged.
    """
    swap.mend(target)
    if not (target / NAME).is_file():
        return None
    try:
        found = read(target)
    except ArtifactError:
        return None
    if found.request_key != request_key:
        return None
    return verify(target).manifest


def require_free(target: Path, overwrite: bool) -> None:
    """Raise `ArtifactExistsError` if something is at `target` that may not be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / NAME).is_file():
        raise ArtifactExistsError(f"{target} is in the way and is not an artifact of ours: move it away yourself.")
    if not overwrite:
        raise ArtifactExistsError(
            f"{target} already holds another artifact: add overwrite=true to replace it, "
            "or write elsewhere with output=DIR."
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
