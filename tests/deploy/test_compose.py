"""The compose file: of the Compose specification's schema, closed to the outside, and with every name declared."""

import json
import re
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from deploy.rehearsal.stack import read_compose, read_stack
from tests.deploy.files import COMPOSE, ROOT

DOCUMENT = read_compose({})
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
STACK = read_stack({})
ONCE = {"buckets", "first-token"}
PUBLISHED = {"mlflow", "ray-head", "service"}
RAY = {"ray-head", "worker-cpu", "worker-gpu", "service"}

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


@pytest.fixture(scope="module")
def specification() -> Validator:
    """The Compose specification's own schema (Apache-2.0), as check-jsonschema packages it."""
    packaged = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json")
    schema = json.loads(packaged.read_text(encoding="utf-8"))
    validator: Validator = validator_for(schema)(schema)
    return validator


def test_it_is_of_the_compose_specification(specification: Validator):
    specification.validate(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))
    specification.validate(DOCUMENT)


@pytest.mark.parametrize("wrong", [{"healthchek": {}}, {"cap_drop": "ALL"}, {"depends_on": {"two": {}}}])
def test_a_mistake_would_be_seen(specification: Validator, wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        specification.validate({"services": {"one": {"image": "x", **wrong}}})


@each_service
def test_every_name_is_declared(name: str):
    service = SERVICES[name]
    assert set(service.get("secrets", ())) <= set(DOCUMENT["secrets"])
    assert set(service["networks"]) <= set(DOCUMENT["networks"])
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    named = {mount.source for mount in STACK.services[name].mounts if mount.is_volume}
    assert named <= set(DOCUMENT["volumes"])


def test_every_declared_name_is_used():
    for part in ("secrets", "networks"):
        assert {name for one in SERVICES.values() for name in one.get(part, ())} == set(DOCUMENT[part])
    mounts = [mount for service in STACK.services.values() for mount in service.mounts]
    assert {mount.source for mount in mounts if mount.is_volume} == set(DOCUMENT["volumes"])


@each_service
def test_secret_files_that_are_named_are_mounted(name: str):
    named = set(re.findall(r"/run/secrets/(\w+)", json.dumps(SERVICES[name])))
    mounted = set(SERVICES[name].get("secrets", ()))
    read_by_the_databases_script = (
        {"ledger_password", "mlflow_database_password"} if name == "postgres" else set()
    )
    assert named | read_by_the_databases_script == mounted


@each_service
def test_it_is_confined(name: str):
    service = SERVICES[name]
    uid, gid = STACK.services[name].user
    assert uid >= 100
    assert gid >= 100
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert "privileged" not in service
    assert "network_mode" not in service
    assert not [mount for mount in STACK.services[name].mounts if "docker.sock" in mount.source]


@each_service
def test_it_is_checked_or_ends(name: str):
    service = SERVICES[name]
    if name in ONCE:
        assert "healthcheck" not in service
        assert service["restart"].startswith("on-failure")
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


@each_service
def test_it_waits_by_condition(name: str):
    for needed, condition in STACK.services[name].needs.items():
        ends = needed in ONCE
        assert condition == ("service_completed_successfully" if ends else "service_healthy"), needed


@each_service
def test_its_image_is_pinned(name: str):
    service = SERVICES[name]
    if "build" in service:
        assert re.fullmatch(r"trialwright:\d+\.\d+\.\d+-(cpu|gpu)", service["image"])
        assert service["build"]["args"]["VARIANT"] == service["image"].rpartition("-")[2]
    else:
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*@sha256:[0-9a-f]{64}", service["image"])


def test_only_three_ports_are_published_and_on_loopback():
    assert {name for name, service in SERVICES.items() if "ports" in service} == PUBLISHED
    for name in PUBLISHED:
        assert [port.address for port in STACK.services[name].ports] == ["127.0.0.1"]


def test_stores_are_on_the_internal_network_alone():
    assert DOCUMENT["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "store", "buckets", "first-token"):
        assert SERVICES[name]["networks"] == ["inside"]


@each_service
def test_passwords_stand_in_files_alone(name: str):
    service = SERVICES[name]
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|CREDENTIALS|IDENTITIES", key):
            assert key.endswith(("_FILE", "_PATH")), key
            assert str(value).startswith("/run/secrets/"), key
    assert not re.search(r"//[^/@\s]+:[^/@\s]+@", json.dumps(service)), "a password in an address"


@pytest.mark.parametrize("name", sorted(RAY))
def test_ray_asks_for_a_token_everywhere(name: str):
    environment = SERVICES[name]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"].endswith("/ray_token")
    assert environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


def test_mlflow_asks_for_a_password_and_knows_its_names():
    command = SERVICES["mlflow"]["command"]
    assert {"--app-name=basic-auth", "--serve-artifacts"} <= set(command)
    (hosts,) = [word.partition("=")[2].split(",") for word in command if word.startswith("--allowed-hosts=")]
    assert {"mlflow:5000", "127.0.0.1:5000", "localhost:5000"} <= set(hosts)
    assert not [host for host in hosts if "*" in host]
    moved = read_compose({"MLFLOW_PORT": "5999"})["services"]["mlflow"]
    assert "127.0.0.1:5999" in " ".join(moved["command"])
    assert moved["ports"] == ["127.0.0.1:5999:5000"]


def test_databases_and_users_are_separate():
    addresses = set(
        re.findall(r"postgresql(?:\+psycopg)?://(\w+)@postgres:5432/(\w+)", COMPOSE.read_text("utf-8"))
    )
    assert addresses == {("trialwright", "trialwright"), ("mlflow", "mlflow")}


def test_workers_come_by_profile():
    profiles = {name: service.get("profiles") for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker-cpu": ["cpu"], "worker-gpu": ["gpu"]}
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["worker-gpu"]["build"]["args"] == {"VARIANT": "gpu"}


def test_folders_of_the_repository_that_are_mounted_exist():
    for service in STACK.services.values():
        for mount in service.mounts:
            if not mount.is_volume and mount.source != "./deploy/models":
                assert (ROOT / mount.source).is_dir()
