"""Addresses and packs: what is refused before Ray is touched."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from search_spaces.errors import SpecError
from study.cluster import _not_usable, check_address, fit_packs, this_machine
from study.growth import GROWTH_VARIABLE, nodes_to_come
from study.spec import Resources


def test_no_address_is_this_machine():
    check_address(None)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "head",
            "head:",
            "head:port",
            ":6379",
            "head:99999",
            "user@head:6379",
            "http://head:1",
            "head:1/x",
        ),
        *("a..b:1", f"{'h' * 64}:1", "h\udcf4:1", "[head:1"),
    ],
)
def test_a_malformed_address_is_refused(address):
    with pytest.raises(SpecError, match=r"is not of the form host:port: write it so, or leave --address out"):
        check_address(address)


def test_ray_client_is_refused_with_the_way_out():
    with pytest.raises(
        SpecError, match=r"'ray://head:10001' is one of Ray Client, .*: launch on a machine of"
    ):
        check_address("ray://head:10001")


def test_a_closed_port_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SpecError, match=rf"'127.0.0.1:{port}' \(Connection refused\): start the cluster"):
        check_address(f"127.0.0.1:{port}")


def test_an_unknown_host_is_refused():
    with pytest.raises(SpecError, match=r"No Ray cluster answers at address 'no-such-host.invalid:6379' \("):
        check_address("no-such-host.invalid:6379")


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", False),
        (b"HTTP/1.1 400 Bad Request\r\n", True),
        (b"", True),
        (b"\x00\x00", True),
    ],
)
def test_only_what_greets_as_http2_is_taken_for_ray(reply, refused):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100).startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if refused:
            with pytest.raises(SpecError, match="what listens there is not Ray"):
                check_address(address)
        else:
            check_address(address)
        thread.join()


def test_packs_fill_the_cluster_unless_told_otherwise():
    cluster = {"CPU": 8.0, "GPU": 0.0}
    assert fit_packs(Resources(), cluster).number == 8
    assert fit_packs(Resources(cpus_per_pack=3), cluster).number == 2
    assert fit_packs(Resources(packs=3), cluster).number == 3
    assert fit_packs(Resources(packs=100), cluster).number == 8
    assert fit_packs(Resources(max_packs=5), cluster).number == 5
    assert fit_packs(Resources(gpus_per_pack=1), {"CPU": 8.0, "GPU": 2.0}).number == 2


def test_a_pack_that_fits_nowhere_is_refused():
    with pytest.raises(
        SpecError, match=r"A pack needs 9 CPUs and 0 GPUs, but there are 8 and 0: lower resources"
    ):
        fit_packs(Resources(cpus_per_pack=9, gpus_per_pack=0), {"CPU": 8.0})
    with pytest.raises(SpecError, match=r"A pack needs 1 CPUs and 1 GPUs, but there are 8 and 0: lower"):
        fit_packs(Resources(gpus_per_pack=1), {"CPU": 8.0})


def test_this_machine_has_processors():
    assert this_machine(count_gpus=False)["CPU"] >= 1


def test_a_pack_lies_on_one_node():
    nodes = [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 1.0, "GPU": 4.0}]
    assert fit_packs(Resources(cpus_per_pack=2, gpus_per_pack=0), *nodes).number == 2
    assert (
        fit_packs(Resources(), *nodes).number == 1
    )  # where there are GPUs each pack has one, and a CPU of its node
    with pytest.raises(SpecError, match=r"A pack needs 4 CPUs and 0 GPUs, but there are 3 and 4: lower"):
        fit_packs(Resources(cpus_per_pack=4, gpus_per_pack=0), *nodes)


def test_a_number_of_packs_may_wait_for_a_cluster_to_grow():
    wishes = Resources(packs=4, gpus_per_pack=1)
    packs = fit_packs(wishes, {"CPU": 2.0}, may_wait=True)
    assert (packs.number, packs.asked, packs.gpus) == (1, 4, 1)
    with pytest.raises(SpecError, match="lower"):
        fit_packs(wishes, {"CPU": 2.0})
    with pytest.raises(SpecError, match=r"or write resources\.packs as a number to have the cluster grow"):
        fit_packs(Resources(gpus_per_pack=1), {"CPU": 2.0}, may_wait=True)


def test_without_a_node_nobody_trains_on_processors_unasked():
    with pytest.raises(
        SpecError, match=rf"gpus_per_pack is auto, .* write 0 or 1, or .* with {GROWTH_VARIABLE}"
    ):
        fit_packs(Resources(packs=4), {"CPU": 0.0}, may_wait=True)
    assert fit_packs(Resources(packs=4, gpus_per_pack=0), {"CPU": 0.0}, may_wait=True).asked == 4


GROWN = [{"CPU": 8.0, "GPU": 1.0}] * 8 + [{"CPU": 4.0, "GPU": 0.0}] * 4
HEAD = {"CPU": 0.0, "GPU": 0.0}


@pytest.mark.parametrize(
    ("resources", "gpus", "asked", "hoped", "as_needed"),
    [
        (Resources(), 1, 8, 8, True),
        (Resources(max_packs=3), 1, 3, 3, True),
        (Resources(gpus_per_pack=0), 0, 16, 16, True),
        (Resources(cpus_per_pack=8, gpus_per_pack=0), 0, None, None, None),
        (Resources(packs=4), 1, 4, 4, False),
        (Resources(packs=20), 1, 20, 8, False),
    ],
)
def test_auto_goes_by_what_the_cluster_may_grow_to(resources, gpus, asked, hoped, as_needed):
    if asked is None:
        with pytest.raises(SpecError, match=r"A pack needs 8 CPUs and 0 GPUs"):
            fit_packs(resources, HEAD, may_wait=True, to_come=GROWN)
        return
    packs = fit_packs(resources, HEAD, may_wait=True, to_come=GROWN)
    assert (packs.number, packs.gpus, packs.asked, packs.hoped) == (1, gpus, asked, hoped)
    assert packs.as_needed is as_needed
    assert packs.device == ("cuda" if gpus else "cpu")


def test_a_cluster_that_has_grown_is_one_that_is_there():
    packs = fit_packs(Resources(), HEAD, *GROWN, may_wait=True, to_come=GROWN)
    assert (packs.number, packs.asked, packs.as_needed) == (8, None, False)


def test_a_number_of_packs_waits_for_no_node_that_cannot_come():
    with pytest.raises(SpecError, match=r"A pack needs 9 CPUs and 1 GPUs, but there are 8 and 1: lower"):
        fit_packs(Resources(packs=4, cpus_per_pack=9), HEAD, may_wait=True, to_come=GROWN)


def test_growth_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv(GROWTH_VARIABLE, raising=False)
    assert list(nodes_to_come()) == []
    monkeypatch.setenv(GROWTH_VARIABLE, '[{"nodes": 2, "CPU": 8, "GPU": 1}, {"nodes": 1, "CPU": 4}]')
    assert nodes_to_come() == [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}, {"CPU": 4, "GPU": 0}]


@pytest.mark.parametrize(
    ("written", "place"),
    [("8", ""), ("[{}]", "0.nodes: "), ('[{"nodes": 1, "CPU": 4, "gpu": 1}]', "0.gpu: "), ("[", "")],
)
def test_a_growth_that_cannot_be_read_is_refused(monkeypatch, written, place):
    monkeypatch.setenv(GROWTH_VARIABLE, written)
    with pytest.raises(SpecError) as refused:
        nodes_to_come()
    assert str(refused.value).startswith(f"{GROWTH_VARIABLE} is {written!r} ({place}")
    assert str(refused.value).endswith(
        'as {"nodes": 8, "CPU": 4, "GPU": 1}, and the groups as a list in brackets.'
    )


RAYS_REPORT = """Failed to start GCS.  Last 0 lines of error files:

.Please check /tmp/ray/session/gcs_server.out for details. Last connection error: Traceback (most recent call last):
  File "python/ray/includes/common.pxi", line 119, in ray._raylet.check_status
ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: the token is missing. Note: RAY_AUTH_MODE is currently
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (RAYS_REPORT, "RPC error: InvalidAuthToken: the token is missing"),
        ("No room.\nSee the log.", "No room"),
        ("", "RuntimeError"),
    ],
)
def test_why_ray_did_not_start_is_said(said, cause):
    assert f"({cause}): free memory" in str(_not_usable(None, RuntimeError(said)))


def test_an_embedded_ray_is_not_started_where_ray_has_read_other_settings():
    program = "import ray, study.cluster as one; one.connected(None, None, None).__enter__()"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: Ray was imported without RAY_AUTH_MODE=token" in done.stderr


@pytest.mark.slow
def test_what_ray_warns_of_is_logged_and_not_printed(tmp_path):
    code = f"""
import logging, time
from pathlib import Path
from study.cluster import connected
from study.home import open_home
from study.spec import Resources

logging.basicConfig(level=logging.INFO, filename={str(tmp_path / "log")!r})
with connected(None, open_home({str(tmp_path / "home")!r}), Resources()):
    from ray._private.utils import publish_error_to_driver
    from ray._private.worker import global_worker
    publish_error_to_driver("worker_pool_large", "Many workers were started.", global_worker.gcs_client)
    give_up_at = time.monotonic() + 60
    while "Many workers" not in Path({str(tmp_path / "log")!r}).read_text() and time.monotonic() < give_up_at:
        time.sleep(0.1)
"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "study.cluster:Many workers were started." in (tmp_path / "log").read_text()
    assert done.stdout == ""
