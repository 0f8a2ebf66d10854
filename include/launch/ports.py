"""Ports: found busy before anything is started, not after."""

import socket

import psutil

from include.problem import Problem


def require_free(ports: dict[str, int]) -> None:
    """Raise one `Problem` that names every busy port, who holds it where that can be seen, and the setting to change.

    `ports`: name of the setting → port number.
    """
    busy = [f"port {port} ({setting}) is in use{_holder(port)}" for setting, port in ports.items() if not _free(port)]
    if busy:
        example = next(iter(ports))
        raise Problem(
            f"{'; '.join(busy)}. Stop what holds it, or choose another, for example: {example}=18080 make run"
        )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without this a port whose last connection closed a minute ago counts as busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells this to root only
        return ""
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
