"""Ray within the tests' own process, in one mode: Ray's core reads it once, and a head of another would not talk."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from study.cluster import OBJECT_STORE_BYTES


@contextmanager
def embedded_ray(*, num_cpus: int, num_gpus: int = 0) -> Iterator[None]:
    """A Ray on the loopback for the duration of a block, without the token that Ray would keep in the user's folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "disabled")
        patched.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()
