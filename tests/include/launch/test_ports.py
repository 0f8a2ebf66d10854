"""Busy ports are named before anything starts."""

import os
import socket

import pytest

from include.launch.ports import require_free
from include.problem import Problem


def test_free_ports_pass() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free({"AIRFLOW_PORT": port})


def test_every_busy_port_is_named_with_its_holder_and_setting() -> None:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        ports = {"AIRFLOW_PORT": one.getsockname()[1], "ELASTICSEARCH_PORT": other.getsockname()[1]}
        with pytest.raises(Problem) as raised:
            require_free(ports)
    for setting, port in ports.items():
        assert f"port {port} ({setting}) is in use by process {os.getpid()}" in str(raised.value)
