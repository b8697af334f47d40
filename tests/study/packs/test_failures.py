"""What a failure says of the trial that met it."""

import errno
import os

import pytest

from study.packs.failures import HOST_FAILURES, STORE_FAILURES, in_a_line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_or_broken_disk_fails_every_trial_alike(number):
    line = in_a_line(OSError(number, os.strerror(number), "/home/tensors.safetensors"))
    assert HOST_FAILURES.search(line)
    assert STORE_FAILURES.search(line)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ECONNRESET])
def test_other_failures_of_the_system_may_be_one_trials_own(number):
    line = in_a_line(OSError(number, os.strerror(number)))
    assert HOST_FAILURES.search(line)
    assert not STORE_FAILURES.search(line)
