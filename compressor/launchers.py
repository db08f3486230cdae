"""Jobs handed to one of Hydra's launcher plug-ins: processes of joblib, a cluster's queue through submitit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize
from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf.errors import OmegaConfBaseException

from compressor.errors import RequestError, UnknownNameError

GROUP = "hydra/launcher"
SETTINGS = "hydra.launcher."
_PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
"""Launchers of the extra `launchers`, and what installs each."""


@dataclass(frozen=True)
class Task:
    """What a launcher calls in its process: the job whose number stands in the configuration that it composed."""

    run: Callable[[Any], Any]
    jobs: tuple[Any, ...]

    def __call__(self, config: Any) -> Any:
        """The job's answer."""
        return self.run(self.jobs[int(config.job)])


def names() -> list[str]:
    """Launchers that are installed."""
    Plugins.instance()  # finds the plug-ins, which then store their settings
    return [file.removesuffix(".yaml") for file in ConfigStore.instance().list(GROUP)]


def require(name: str) -> None:
    """Raises `RequestError` for a launcher that is not installed, `UnknownNameError` for one that there is not."""
    known = names()
    if name in known:
        return
    if name in _PLUGINS:
        raise RequestError(f"the launcher '{name}' needs {_PLUGINS[name]}: pip install 'compressor[launchers]'.")
    raise UnknownNameError("launcher", name, {*known, *_PLUGINS})


def launch(
    name: str, settings: Sequence[str], run: Callable[[Any], Any], jobs: Sequence[Any], folder: Path
) -> list[Any]:
    """`run(job)` of every job by a launcher, in the order of `jobs`; an exception of a job stands in its place.

    Args:
        name: The launcher, such as joblib.
        settings: Its own, such as `hydra.launcher.n_jobs=4`.
        run: A function of a module, as jobs may run in other processes.
        jobs: What it is called with; must be picklable, like its answers.
        folder: Where the launcher puts its own files.

    Raises:
        RequestError: The launcher or a setting of it is not there.
    """
    require(name)
    lines = [
        f"{GROUP}={name}",
        *settings,
        f'hydra.sweep.dir="{folder.resolve()}"',
        "hydra.sweep.subdir=jobs",
        "hydra.output_subdir=null",
        "hydra.job.name=compressor",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
    with initialize(version_base="1.3", config_path=None):
        try:
            config = compose(overrides=lines, return_hydra_config=True)
            context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks(config))
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=Task(run, tuple(jobs)), config=config
            )
        except (HydraException, OmegaConfBaseException) as error:
            reason = " ".join(str(error).splitlines()[0].split())
            raise RequestError(f"the launcher '{name}' cannot be set up: {reason}.") from error
    # Outside of `initialize`: jobs compose requests of their own, and Hydra does so for one at a time.
    returned = launcher.launch([[f"+job={place}"] for place in range(len(jobs))], 0)
    return [one._return_value for one in returned]
