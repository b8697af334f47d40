"""Every node of a cluster is looked at before anything is written or trained: same code, same home, same store."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from search_spaces.errors import SpecError
from study import node_probe
from study.home import Home
from study.spec import StudySpec
from trainers.places import parse_store
from trainers.store_settings import STORE_VARIABLE, own_settings

PATIENCE_S = 120.0
"""How long the nodes may take to answer, all of them."""


def check_nodes(spec: StudySpec, home: Home) -> None:
    """Refuse a cluster one of whose living nodes is not fit for the study. Ray is connected.

    Args:
        spec: the study, whose own files every node must see.
        home: the driver's.

    Raises:
        SpecError: the first mismatch: which node, what it has, what this machine has, and the way out.
    """
    if home.store is not None:
        parse_store(home.store).check()
    token = home.root / f".seen-{uuid4().hex}"
    token.touch()
    asked = {
        "home": str(home.root),
        "token": token.name,
        "paths": _paths(spec),
        "store": home.store,
        "secrets": own_settings() if home.store else {},
    }
    try:
        here = node_probe.look_at_node(asked | {"store": None})
        for name, seen in _answers(asked).items():
            problem = mismatch(seen, here, home)
            if problem:
                raise SpecError(f"Node {name} {problem}")
    finally:
        token.unlink(missing_ok=True)


def _paths(spec: StudySpec) -> list[str]:
    """Files and folders that the study names."""
    model, rows = spec.base.model, getattr(spec.task, "path", None)
    paths = [model.removeprefix("path:")] if model.startswith("path:") else []
    return [*paths, *([rows] if rows else [])]


def _answers(asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each living node says, by its address and host name."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cloudpickle.register_pickle_by_value(node_probe)
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(node_probe.look_at_node)
        nodes = {
            f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})": look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(dict(asked))
            for node in ray.nodes()
            if node["Alive"]
        }
        done, late = ray.wait(list(nodes.values()), num_returns=len(nodes), timeout=PATIENCE_S)
        for name, reference in nodes.items():
            if reference in late:
                raise SpecError(
                    f"Node {name} has not answered for {PATIENCE_S:g} s: take it out of the cluster, or mend it."
                )
        return {name: _answer(name, reference) for name, reference in nodes.items() if reference in done}
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)


def _answer(name: str, reference: Any) -> dict[str, Any]:
    import ray

    from study.packs.failures import in_a_line

    try:
        return dict(ray.get(reference))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise SpecError(
            f"Node {name} cannot run a task of ours ({in_a_line(cause)}): "
            "give it this machine's Python and Trialwright."
        ) from None


def mismatch(seen: Mapping[str, Any], here: Mapping[str, Any], home: Home) -> str:
    """What is wrong with a node, after its name; empty where nothing is.

    Args:
        seen: what `look_at_node` says there.
        here: what it says on this machine.
        home: the driver's.
    """
    for package, version in here["versions"].items():
        if seen["versions"][package] != version:
            name = "Python" if package == "python" else package
            there = seen["versions"][package]
            return f"has {name} {there}, but this machine has {version}: install the same on every node."
    return _code_mismatch(seen, here) or _files_mismatch(seen, home)


def _code_mismatch(seen: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if not seen["installed"]:
        return "has Trialwright's packages not installed for the Python of its Ray: install the same on every node."
    for module, folder in seen["imported"].items():
        if folder != seen["installed"][module]:
            return (
                f"imports {module!r} from {folder!r} and not from the installed package in "
                f"{seen['installed'][module]!r}: take that folder off its PYTHONPATH, or start Ray elsewhere."
            )
    if seen["code"] != here["code"]:
        return (
            f"has other code of Trialwright {here['versions']['trialwright']} (sources {seen['code'][:12]}) than this "
            f"machine ({here['code'][:12]}): install the same on every node."
        )
    return ""


def _files_mismatch(seen: Mapping[str, Any], home: Home) -> str:
    if seen["unwritable"]:
        return (
            f"cannot write the home {str(home.root)!r} ({seen['unwritable']}): let the user of its Ray write there, or "
            "name another home by --home DIR."
        )
    if not seen["shared"] and home.store is None:
        return (
            f"has another folder at the home {str(home.root)!r} than this machine: share one folder between all nodes, "
            f"or set {STORE_VARIABLE}=s3://bucket/prefix to keep checkpoints and adapters in an object store."
        )
    if seen["missing"]:
        return f"does not see {seen['missing'][0]!r}, which the study names: put it there on every node."
    return str(seen["store"]) and f"does not reach the store: {seen['store']}"
