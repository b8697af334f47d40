"""The manifests for Kubernetes, against the schemas of Kubernetes and the rules of KubeRay.

KubeRay's own schemas are in no package that tests could take them from. Name a folder with its CRDs
(`ray-operator/config/crd/bases` of its repository at v1.7.0) in KUBERAY_CRDS, and the manifests are held against
them too, with unknown fields refused.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from study.cluster import fit_packs
from study.growth import GROWTH_VARIABLE, nodes_to_come
from study.spec import Resources
from tests.deploy.files import KUBERAY, ROOT

CLUSTER_FIELDS = {
    "rayVersion",
    "authOptions",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "headGroupSpec",
    "workerGroupSpecs",
}
JOB_FIELDS = {
    "entrypoint",
    "submissionMode",
    "backoffLimit",
    "submitterConfig",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "rayClusterSpec",
}
KUBERNETES = "1.37"
TEMPLATE = ROOT / "study/template.yaml"


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((KUBERAY / name).read_text(encoding="utf-8"))
    return document


CLUSTER = manifest("cluster.yaml")["spec"]
JOB = manifest("job.yaml")["spec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize(("name", "kind"), [("cluster.yaml", "rayclusters"), ("job.yaml", "rayjobs")])
def test_manifests_are_of_kuberays_schema(name: str, kind: str):
    folder = os.environ.get("KUBERAY_CRDS")
    if folder is None:
        pytest.skip(
            "KUBERAY_CRDS names no folder with KubeRay's CRDs, which no package has: see docs/deploy.md"
        )
    crd = yaml.safe_load((Path(folder) / f"ray.io_{kind}.yaml").read_text(encoding="utf-8"))
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    jsonschema.Draft7Validator(schema).validate(manifest(name))


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as the API server's strict validation refuses them."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(child) for key, child in schema.items()}
    is_closed = made.get("type") == "object" and not made.get("x-kubernetes-preserve-unknown-fields")
    if is_closed and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
        if "apiVersion" in made["properties"]:  # the API server's own part
            made["properties"]["metadata"] = {"type": "object"}
    if made.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    return made


def test_only_known_fields_are_used():
    assert set(CLUSTER) == CLUSTER_FIELDS
    assert set(JOB) == JOB_FIELDS


@pytest.mark.parametrize("group", GROUPS, ids=["head", "gpu", "cpu"])
def test_pods_are_pods(group: dict[str, Any]):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_storage_and_network_policy_are_of_kubernetes():
    for document in yaml.safe_load_all((KUBERAY / "storage.yaml").read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_jobs_cluster_is_the_cluster():
    assert JOB["rayClusterSpec"] == CLUSTER


def test_rays_release_is_the_one_that_is_pinned():
    assert (
        f"ray=={CLUSTER['rayVersion']}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    )


def test_every_node_asks_for_a_token():
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    for group in GROUPS:
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container(group)["env"]


@pytest.mark.parametrize("group", GROUPS, ids=["head", "gpu", "cpu"])
def test_pods_are_confined_probed_and_limited(group: dict[str, Any]):
    pod, only = group["template"]["spec"], container(group)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"readinessProbe", "livenessProbe"} <= set(only)
    assert {"cpu", "memory"} <= set(only["resources"]["limits"])
    assert ":latest" not in only["image"]
    assert {mount["name"] for mount in only["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_trials_run_on_workers_that_come_and_go():
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
    assert set(groups) == {"gpu", "cpu"}
    for group in groups.values():
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    assert container(groups["gpu"])["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container(groups["gpu"])["image"].endswith("-gpu")


def test_the_head_says_what_its_workers_may_grow_to(monkeypatch: pytest.MonkeyPatch):
    (said,) = [
        one["value"] for one in container(CLUSTER["headGroupSpec"])["env"] if one["name"] == GROWTH_VARIABLE
    ]
    monkeypatch.setenv(GROWTH_VARIABLE, said)
    groups = [
        (group["maxReplicas"], container(group)["resources"]["limits"])
        for group in CLUSTER["workerGroupSpecs"]
    ]  # KubeRay's operator and autoscaler take Ray's CPUs and GPUs from a container's limits
    assert nodes_to_come() == [
        {"CPU": int(limits["cpu"]), "GPU": int(limits.get("nvidia.com/gpu", 0))}
        for number, limits in groups
        for _ in range(number)
    ]


@pytest.mark.parametrize("resources", ["packs: auto", "packs: 8, gpus_per_pack: 1, cpus_per_pack: 4"])
def test_a_study_as_it_is_begun_waits_for_gpu_workers(monkeypatch: pytest.MonkeyPatch, resources: str):
    (said,) = [
        one["value"] for one in container(CLUSTER["headGroupSpec"])["env"] if one["name"] == GROWTH_VARIABLE
    ]
    monkeypatch.setenv(GROWTH_VARIABLE, said)
    template = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["resources"]
    wishes = Resources(**(template | yaml.safe_load(f"{{{resources}}}")))
    head = {"CPU": float(CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"])}
    packs = fit_packs(wishes, head, may_wait=True, to_come=nodes_to_come())
    assert (packs.asked, packs.hoped, packs.device) == (8, 8, "cuda")


def test_the_job_restores_or_starts():
    assert JOB["entrypoint"].startswith("trialwright launch ")
    assert JOB["backoffLimit"] > 0
    mounted = {
        mount["mountPath"] for mount in container(JOB["rayClusterSpec"]["headGroupSpec"])["volumeMounts"]
    }
    assert "/etc/trialwright" in mounted


def test_no_secret_is_written_out():
    for group in GROUPS:
        for setting in container(group)["env"]:
            if "PASSWORD" in setting["name"] or "TOKEN" in setting["name"]:
                assert "value" not in setting, setting["name"]
