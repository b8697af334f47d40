"""What is sent to a cluster, and what is not."""

import pytest

from search_spaces.errors import SpecError
from study import jobs
from study.job_environment import SHOWN_ADDRESS
from study.jobs.dashboard import NoAnswerError


def test_a_command_is_submitted_as_it_is_typed(dashboard):
    job_id = jobs.submit(dashboard.url, ["launch", "--phase", "a b; rm"], env={"TRIALWRIGHT_BUNDLE": "x"})
    sent = dashboard.jobs[job_id]
    assert sent["entrypoint"] == "exec trialwright launch --phase 'a b; rm'"
    assert sent["runtime_env"]["env_vars"]["TRIALWRIGHT_BUNDLE"] == "x"
    assert sent["runtime_env"]["env_vars"][SHOWN_ADDRESS] == dashboard.url
    assert sent["metadata"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "RAY_AUTH_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "OPENAI_API_KEY",
        "My_Credentials",
    ],
)
def test_a_secret_is_never_sent_by_name(dashboard, name):
    with pytest.raises(SpecError, match=f"{name} would be written where everybody") as told:
        jobs.submit(dashboard.url, ["status"], env={name: "s3cret"})
    assert "s3cret" not in str(told.value)
    assert dashboard.asked == []


@pytest.mark.parametrize("uri", ["http://me:s3cret@mlflow:5000", "http://me:s3cret@[mlflow"])
@pytest.mark.parametrize("where", ["argument", "joined argument", "value"])
def test_an_address_with_a_password_is_never_sent(dashboard, where, uri):
    arguments = {"argument": ["--tracking-uri", uri], "joined argument": [f"--tracking-uri={uri}"]}.get(
        where, []
    )
    with pytest.raises(SpecError, match="An address with a password would be written") as told:
        jobs.submit(dashboard.url, arguments, env={"MLFLOW_TRACKING_URI": uri} if where == "value" else {})
    assert "s3cret" not in str(told.value)
    assert dashboard.asked == []


def test_where_a_secret_lies_may_be_said(dashboard):
    env = {"TRIALWRIGHT_TOKEN_FILE": "/run/secrets/token", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    jobs.submit(dashboard.url, ["status"], env=env)


def test_an_id_is_taken_once(dashboard):
    jobs.submit(dashboard.url, ["status"], env={}, job_id="mine")
    with pytest.raises(
        SpecError, match=r"refuses this \(ValueError: Job with submission_id mine already exists\."
    ):
        jobs.submit(dashboard.url, ["status"], env={}, job_id="mine")


def test_a_job_is_seen_stopped_and_forgotten(dashboard):
    job_id = jobs.submit(dashboard.url, ["status"], env={})
    assert str(jobs.state(dashboard.url, job_id)) == "PENDING"
    assert not jobs.state(dashboard.url, job_id).is_over
    jobs.stop(dashboard.url, job_id)
    now = jobs.state(dashboard.url, job_id)
    assert (now.status, now.is_over, now.exit_code) == (jobs.JobStatus.STOPPED, True, None)
    jobs.forget(dashboard.url, job_id)
    with pytest.raises(SpecError, match=f"Job {job_id} does not exist"):
        jobs.state(dashboard.url, job_id)


def test_a_studys_driver_is_found_and_no_other(dashboard):
    for job_id, status in (
        ("trialwright-tiny-0123abcd", "SUCCEEDED"),
        ("trialwright-tiny-b-0123abcd", "RUNNING"),
        ("trialwright-tinyx-0123abcd", "RUNNING"),
        ("somebody-elses", "RUNNING"),
    ):
        dashboard.add(job_id, status)
    dashboard.jobs["a driver of its own"] = {"submission_id": None, "status": "RUNNING"}
    assert jobs.running_driver(dashboard.url, "tiny") is None
    assert jobs.running_driver(dashboard.url, "tin.") is None
    dashboard.add("trialwright-tiny-00000002", "RUNNING", start_time=20)
    dashboard.add("trialwright-tiny-00000001", "PENDING", start_time=10)
    found = jobs.running_driver(dashboard.url, "tiny")
    assert found is not None
    assert found.id == "trialwright-tiny-00000002"
    dashboard.add(jobs.driver_id("tin."), "RUNNING")
    assert jobs.running_driver(dashboard.url, "tin.") is not None


def test_a_server_that_fails_may_be_asked_again(dashboard):
    jobs.dashboard_url(dashboard.url)
    dashboard.answer = lambda *_: (500, "Traceback …\nTimeoutError: no agent")
    with pytest.raises(NoAnswerError, match=r"could not answer \(TimeoutError: no agent\): try again\."):
        jobs.submit(dashboard.url, ["status"], env={})
