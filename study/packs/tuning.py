"""One Tune run over all trials that are missing: clients of packs, and Ray Tune's own settings."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from study.coordinator import Coordinator
from study.packs.desk import PackDesk
from study.packs.starting_clients import clients_left_to_start
from trainers.store_settings import CREDENTIALS

_SECRETS = {*CREDENTIALS, "AWS_SECURITY_TOKEN"}
"""Ray Tune writes these of the driver into its clients' runtime environment, and so into Ray's logs (seen on 2.60)."""
MOST_CLIENTS = 10_000
"""Trials at a time at the most; how many there are is the desk's to say, since packs come and go."""
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "TUNE_MAX_PENDING_TRIALS_PG": str(MOST_CLIENTS),
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Ray Tune keeps no loggers, no snapshots and no signal handler of its own: the ledger and the runner do."""


def tune_trials(
    coordinator: Coordinator,
    desk: PackDesk,
    *,
    name: str,
    notes_dir: Path,
    is_over: Callable[[], bool],
) -> None:
    """Run trials until none is left or the run is over. Ray Tune's own notes are not read again.

    Args:
        coordinator: has the trials, and takes their reports.
        desk: has the packs.
        name: of the study.
        notes_dir: where Ray Tune may write.
        is_over: whether the run is to end; asked often.
    """
    os.environ.update(_ENVIRONMENT)
    from ray import tune
    from ray.tune.execution import class_cache

    from study.packs.client import PackClient
    from study.scheduling import Alarm, ReportDesk, StopWhen, TrialSource

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    class_cache.ENV_VARS_TO_PROPAGATE = set(class_cache.ENV_VARS_TO_PROPAGATE) - _SECRETS
    alarm = Alarm()
    shutil.rmtree(notes_dir / name, ignore_errors=True)
    tuner = tune.Tuner(
        PackClient,
        tune_config=tune.TuneConfig(
            search_alg=TrialSource(coordinator, alarm, desk, is_over),
            scheduler=ReportDesk(coordinator, alarm, desk),
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=MOST_CLIENTS,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(notes_dir),
            stop=StopWhen(lambda: bool(is_over() or alarm)),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    with clients_left_to_start():
        tuner.fit()
    alarm.raise_failure()
    shutil.rmtree(notes_dir / name, ignore_errors=True)
