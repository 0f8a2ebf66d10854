"""The stack's servers without containers: PostgreSQL, Redis and a secured Elasticsearch, on loopback."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.secure_elasticsearch import PIPELINE, ROLE
from include.elastic.node import EmbeddedNode, account, embedded_node, reachable_folder
from include.launch.services import stop_family
from tests.deploy.compose import ROOT, env_values, services
from tests.postgres_server import postgres_server
from tests.servers import free_port

SECONDS_TO_START = 300


class SecuredNode(EmbeddedNode):
    """The embedded node with the settings the compose file gives the Elasticsearch of the stack."""

    settings: dict[str, str]
    elastic_password: str
    pipeline_password: str

    def _prepare(self) -> None:
        super()._prepare()
        config = self.folder / "config"
        text = (config / "elasticsearch.yml").read_text(encoding="utf-8")
        kept = [line for line in text.splitlines() if line.split(":")[0] not in self.settings]
        kept += [f"{name}: {json.dumps(value)}" for name, value in self.settings.items()]
        (config / "elasticsearch.yml").write_text("\n".join(kept) + "\n", encoding="utf-8")
        # The image's start script does this with ELASTIC_PASSWORD.
        self._tool(
            "elasticsearch-keystore", "add", "--stdin", "--force", "bootstrap.password", told=self.elastic_password
        )
        # The core-only node lacks a text analysis module that users and roles made through the API need: the same user
        # and role from files.
        (config / "roles.yml").write_text(f"{PIPELINE}: {json.dumps(ROLE)}\n", encoding="utf-8")
        for name in ("users", "users_roles"):
            (config / name).touch()
        self.runner.owns(config)
        self._tool("elasticsearch-users", "useradd", PIPELINE, "-p", self.pipeline_password, "-r", PIPELINE)

    def _tool(self, name: str, *arguments: str, told: str = "") -> None:
        subprocess.run(
            [str(self.home / "bin" / name), *arguments],
            input=told,
            text=True,
            env=self._environment(),
            cwd=self.folder,
            check=True,
            capture_output=True,
            **self.runner.identity,  # type: ignore[call-overload]
        )

    def _wait_until_healthy(self, output: Path) -> None:
        assert self.process is not None
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            assert self.process.poll() is None, output.read_text(encoding="utf-8", errors="replace")
            asked = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=5s"
            with suppress(httpx.TransportError):  # it does not listen from the beginning
                if httpx.get(asked, auth=("elastic", self.elastic_password), timeout=10).is_success:
                    return
            time.sleep(0.2)
        raise AssertionError(output.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A generated `.env`."""
    file = tmp_path_factory.mktemp("env") / ".env"
    generate = [sys.executable, str(ROOT / "deploy" / "generate_env.py"), str(file)]
    subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
    return env_values(file)


@pytest.fixture(scope="session")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory, secrets: dict[str, str]) -> Iterator[SecuredNode]:
    """A secured node with the superuser and the pipeline's user."""
    folder = tmp_path_factory.mktemp("elasticsearch")
    reachable = reachable_folder(folder, account())
    plain = embedded_node(folder, port=0, heap_mb=384)
    node = SecuredNode(plain.home, plain.java, folder=plain.folder, port=0, heap_mb=384, runner=plain.runner)
    found = services(secrets)["elasticsearch"]["environment"]
    node.settings = {name: value for name, value in found.items() if "." in name}
    node.elastic_password = found["ELASTIC_PASSWORD"]
    node.pipeline_password = secrets["PIPELINE_PASSWORD"]
    try:
        with node:
            yield node
    finally:
        if reachable != folder.resolve():
            shutil.rmtree(reachable)


@contextmanager
def running(command: list[str], folder: Path, **options: object) -> Iterator[Path]:
    """A process of the test's own and its log, stopped at the end."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
    try:
        yield log
    finally:
        stop_family(psutil.Process(process.pid) if process.poll() is None else None, process.pid)
        process.wait()


def wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture(scope="session")
def postgres_port(secrets: dict[str, str]) -> Iterator[int]:
    """A PostgreSQL with the compose file's user, password and database."""
    settings = services(secrets)["postgres"]["environment"]
    with postgres_server(settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]) as server:
        server.execute(f'CREATE DATABASE "{settings["POSTGRES_DB"]}"')
        yield server.port


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory, secrets: dict[str, str]) -> Iterator[int]:
    """A Redis started by the compose file's own command, on a port of its own."""
    service = services(secrets)["redis"]
    shell, flag, script = service["command"]
    port = free_port()
    assert "redis-server -" in script
    script = script.replace("redis-server -", f"redis-server - --port {port} --bind 127.0.0.1")
    folder = tmp_path_factory.mktemp("redis")
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    with running([shell, flag, script], folder, cwd=folder, env={**service["environment"], **path}) as log:
        wait_for_port(port, log)
        yield port
