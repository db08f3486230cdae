"""An earlier advice in the same folder: one for the same data is renewed, another one is in the way."""

from __future__ import annotations

import hashlib
import json
import os

from compressor.advisor.requests import Question
from compressor.config.paths import expanded
from compressor.errors import ArtifactExistsError
from compressor.request import Request

FILE = "advice.json"


def teacher_id(request: Request) -> str:
    """What tells teachers apart: the name, or the folder however it is written."""
    name = request.teacher_name
    place = os.path.realpath(expanded(name)) if request.teacher.source == "path" else name
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def require_room(question: Question, held_out: str) -> None:
    """Raise `ArtifactExistsError` where an advice for other held-out data or another teacher would be replaced.

    It and its artifacts, which have the same names. `held_out` is the fingerprint of the held-out data. An advice
    that cannot be read, or does not say what it is for, is in nobody's way.
    """
    request = question.request
    if request.overwrite:
        return
    try:
        found = json.loads((question.folder / FILE).read_text(encoding="utf-8"))
        there = (found["held_out"], found["teacher_id"])
        what = "other held-out data" if there[0] != held_out else f"the teacher {found['teacher']}"
    except (OSError, ValueError, KeyError, TypeError):
        return
    if there != (held_out, teacher_id(request)):
        raise ArtifactExistsError(
            f"{question.folder} holds an advice for {what}: add overwrite=true to replace it and its artifacts, or "
            "write elsewhere with output=DIR."
        )
