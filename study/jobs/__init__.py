"""Commands of Trialwright as jobs of a Ray cluster, submitted and watched from outside of it.

The cluster's dashboard is asked over HTTP (Ray's REST interface for jobs); Ray itself is not imported.
"""

from study.jobs.address import dashboard_url, kind_of
from study.jobs.log import follow
from study.jobs.submission import (
    JobState,
    JobStatus,
    driver_id,
    forget,
    running_driver,
    state,
    stop,
    submit,
)

__all__ = [
    "JobState",
    "JobStatus",
    "dashboard_url",
    "driver_id",
    "follow",
    "forget",
    "kind_of",
    "running_driver",
    "state",
    "stop",
    "submit",
]
