"""Where examples come from: the embedded demo, local files, the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from compressor.config.run import DataSettings, TaskName
from compressor.data.splits import Splits

__all__ = ["Splits", "demo_teacher", "load"]


def load(settings: DataSettings, task: TaskName, seed: int) -> Splits:
    """Read the data of a run and divide it; the same for the same settings, files and seed.

    Raises `DataError` for what cannot be read and `TaskError` for data of another task.
    """
    from compressor.data import files, hub
    from compressor.data.source import demo_source
    from compressor.data.splitting import split

    sources = {"demo": demo_source, "files": files.load, "hub": hub.load}
    return split(sources[settings.source](settings, task, seed), settings, seed)


def demo_teacher(task: TaskName, target: Path) -> Path:
    """Write the embedded teacher of a task as a `save_pretrained` checkpoint into `target`."""
    from compressor.data.demo.teacher import demo_teacher as write

    return write(task, target)
