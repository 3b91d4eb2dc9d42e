"""Trackers of experiments by name: the numbers of every cycle go to Weights & Biases, or to MLflow.

A trial of a study is a run of the tracker, and a cycle is a step of it; a study that goes on, goes on in the
same runs. Everything stays in the run directory, and nothing is sent, unless WANDB_MODE=online or
MLFLOW_TRACKING_URI, which are the trackers' own settings, say otherwise.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aljax.config import flatten
from aljax.errors import InvalidInputError, RunError, first_line
from aljax.records.files import Record

PROJECT = "aljax"
INSTALL = "pip install 'aljax[{0}]' (in a checkout: pip install -e '.[{0}]')"


class Trial(NamedTuple):
    """Describes a trial to a tracker, at its start."""

    workdir: Path  # of the study
    number: int
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Returns the name of the tracker's run."""
        return f"trial-{self.number:02d}"

    @property
    def identity(self) -> str:
        """Returns by what a trial is found again: of the run directory, as a copy of it is another run."""
        return hashlib.sha256(f"{self.workdir}/{self.name}".encode()).hexdigest()[:16]


class Tracker(NamedTuple):
    """A trial that is tracked."""

    add: Callable[[int, Mapping[str, float]], object]  # the numbers of a cycle
    close: Callable[[], object]


def untracked(trial: object) -> Tracker:
    """Returns what tracks nothing."""
    return Tracker(lambda cycle, values: None, lambda: None)


def wandb(trial: Trial) -> Tracker:
    """Returns a run of Weights & Biases, in a group for the study; offline, or as WANDB_MODE says."""
    import wandb as library

    run = library.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=trial.workdir.name,
        name=trial.name,
        id=trial.identity,
        resume="allow",
        dir=str(trial.workdir),
        config=flatten(trial.config),
        mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
        reinit="create_new",
        settings=library.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
        ),
    )
    return Tracker(lambda cycle, values: run.log(dict(values), step=cycle), run.finish)


def mlflow(trial: Trial) -> Tracker:
    """Returns a run of MLflow; in the study's folder mlruns, or where MLFLOW_TRACKING_URI says."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    if not (uri := os.environ.get("MLFLOW_TRACKING_URI")):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes more than mlflow-skinny
        uri = (trial.workdir / "mlruns").as_uri()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    begun = client.search_runs([experiment], f"tags.aljax = '{trial.identity}'")
    if begun:
        run = begun[0].info.run_id
        client.update_run(run, status="RUNNING")
    else:
        tags = {"aljax": trial.identity}
        label = f"{trial.workdir.name}/{trial.name}"
        run = client.create_run(experiment, run_name=label, tags=tags).info.run_id
        for field, value in flatten(trial.config).items():
            client.log_param(run, field, value)

    def add(cycle: int, values: Mapping[str, float]) -> None:
        for field, value in values.items():
            client.log_metric(run, field, value, step=cycle)

    return Tracker(add, lambda: client.set_terminated(run))


TRACKERS: dict[str, Callable[[Trial], Tracker]] = {"none": untracked, "wandb": wandb, "mlflow": mlflow}


def check(name: str) -> None:
    """Raises InvalidInputError if the package of a tracker is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise InvalidInputError(
            f"config.tracker={name!r}: the package {name} is not installed; accepted: 'none', or after "
            f"{INSTALL.format(name)}"
        )


def begin(config: Mapping[str, Any], workdir: Path, trial: int) -> Tracker:
    """Begins to track a trial, or goes on, by `config.tracker`.

    Raises:
      RunError: if the tracker fails, also when it is told of a cycle.
    """
    name = config["tracker"]
    with _reported(name):
        tracker = TRACKERS[name](Trial(workdir, trial, config))

    def add(cycle: int, values: Mapping[str, float]) -> None:
        with _reported(name):
            tracker.add(cycle, values)

    def close() -> None:
        with _reported(name):
            tracker.close()

    return Tracker(add, close)


def numbers(line: Record) -> dict[str, float]:
    """Returns the numbers of a cycle's line, under the names that they have there."""
    return {
        name: float(value)
        for name, value in line.items()
        if type(value) in (int, float) and name not in ("trial", "cycle")
    }


@contextmanager
def _reported(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of a library, or of the network
        raise RunError(f"config.tracker={name!r}: {first_line(error)}") from error
