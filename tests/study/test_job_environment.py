"""A command that runs as a job joins the job's cluster, and gives nothing of the job's to its workers."""

import json
import os
from pathlib import Path

from study.job_environment import SHOWN_ADDRESS, cluster_address, is_job, settle, shown_address

CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def test_outside_of_a_job_nothing_changes(monkeypatch, tmp_path):
    monkeypatch.delenv(CONFIG, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setenv(SHOWN_ADDRESS, "http://head:8265")
    assert (is_job(), cluster_address(), shown_address()) == (False, None, None)
    before = Path.cwd()
    settle(tmp_path)
    assert Path.cwd() == before


def test_a_job_joins_its_cluster_with_a_runtime_environment_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    config = {
        "runtime_env": {"env_vars": {"TRIALWRIGHT_BUNDLE": "x"}},
        "metadata": {"job_submission_id": "one"},
    }
    monkeypatch.setenv(CONFIG, json.dumps(config))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setenv(SHOWN_ADDRESS, "http://head:8265")
    assert (is_job(), cluster_address(), shown_address()) == (True, "head:6379", "http://head:8265")
    settle(tmp_path / "empty")
    assert json.loads(os.environ[CONFIG]) == {"runtime_env": {}, "metadata": {"job_submission_id": "one"}}
    assert Path.cwd() == tmp_path / "empty"
