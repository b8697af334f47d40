"""Addresses and packs: what is refused before Ray is touched."""

import socket
import threading

import pytest

from search_spaces.errors import SpecError
from study.cluster import check_address, fit_packs, this_machine
from study.spec import Resources


def test_no_address_is_this_machine():
    check_address(None)


@pytest.mark.parametrize(
    "address",
    ["", "head", "head:", "head:port", ":6379", "head:99999", "user@head:6379", "http://head:1", "head:1/x"],
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
