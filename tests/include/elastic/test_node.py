"""The embedded node: fetching, finding Java, starting, and everything that keeps it from starting."""

import os
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

import configs
from include.elastic.client import connect
from include.elastic.node import (
    Account,
    EmbeddedNode,
    NodeProblem,
    account,
    direct,
    fetch,
    find_java,
    reachable_folder,
)
from tests.servers import elasticsearch_node

OURSELVES = Account()


def java_home(folder: Path, script: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return folder


def says_version(folder: Path, version: str) -> Path:
    return java_home(folder, f"echo 'java.home = {folder}'; echo 'java.specification.version = {version}'")


def test_the_distribution_is_unpacked_once_with_its_permissions(tmp_path: Path) -> None:
    home = fetch(configs.EMBEDDED_ELASTICSEARCH_VERSION, tmp_path)
    assert home == tmp_path / "elasticsearch" / configs.EMBEDDED_ELASTICSEARCH_VERSION
    assert stat.S_IMODE((home / "bin" / "elasticsearch").stat().st_mode) == 0o755
    assert stat.S_IMODE((home / "config" / "jvm.options").stat().st_mode) & 0o044 == 0o044
    assert [path.name for path in home.parent.iterdir()] == [home.name]  # nothing left aside
    (home / "mine").touch()
    assert (fetch(configs.EMBEDDED_ELASTICSEARCH_VERSION, tmp_path) / "mine").exists()


def test_a_damaged_download_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = "8.19.0"
    place = tmp_path / "repository/org/elasticsearch/distribution/integ-test-zip/elasticsearch" / version
    place.mkdir(parents=True)
    archive = place / f"elasticsearch-{version}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("elasticsearch/bin/elasticsearch", "x" * 1_000)
    archive.write_bytes(archive.read_bytes()[:200])
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    with pytest.raises(NodeProblem, match=r"was damaged .* has been removed; try again"):
        fetch(version, tmp_path / "cache")
    assert not archive.exists()
    assert list((tmp_path / "cache" / "elasticsearch").iterdir()) == []


def test_java_is_taken_from_es_java_home_before_java_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_JAVA_HOME", str(says_version(tmp_path / "one", "21")))
    monkeypatch.setenv("JAVA_HOME", str(says_version(tmp_path / "two", "17")))
    assert find_java(tmp_path, OURSELVES) == tmp_path / "one"


def test_an_old_java_and_one_that_does_not_run_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_JAVA_HOME", str(says_version(tmp_path / "old", "1.8")))
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path / "broken", "exit 1")))
    on_path = says_version(tmp_path / "good", "17")
    monkeypatch.setenv("PATH", f"{on_path / 'bin'}:{os.environ['PATH']}")
    assert find_java(tmp_path, OURSELVES) == on_path


def test_without_java_one_sentence_says_what_was_tried_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ES_JAVA_HOME", str(says_version(tmp_path / "old", "11")))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CJDK_INDEX_URL", "https://127.0.0.1:9/index.json")  # no network
    with pytest.raises(NodeProblem, match=r"Java 17 or newer \(ES_JAVA_HOME is version 11; .*apt install openjdk-17"):
        find_java(tmp_path, OURSELVES)


def test_what_the_node_cannot_reach_is_kept_elsewhere(tmp_path: Path) -> None:
    """Pytest's folders are closed to others: only root, whose node runs as somebody else, has to go elsewhere."""
    runner = account()
    folders = [reachable_folder(tmp_path / name, runner) for name in ("var", "var", "other")]
    try:
        if runner.uid is None:
            assert folders == [tmp_path / "var", tmp_path / "var", tmp_path / "other"]
        else:
            assert {folder.parent for folder in folders} == {Path("/var/tmp")}
            assert folders[0] == folders[1] != folders[2]
            assert runner.runs("test", "-x", folders[0]) is not None
    finally:
        for folder in {*folders} - {tmp_path / "var", tmp_path / "other"}:
            folder.rmdir()


@pytest.mark.contract
def test_a_busy_port_is_named(shared_node: EmbeddedNode) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = EmbeddedNode(
            shared_node.home, shared_node.java, folder=shared_node.folder.parent / "second", port=port, heap_mb=128
        )
        with pytest.raises(NodeProblem, match=f"Port {port} is in use.*ELASTICSEARCH_PORT"):
            second.start()


@pytest.mark.contract
def test_the_same_data_are_not_opened_twice(shared_node: EmbeddedNode) -> None:
    second = EmbeddedNode(shared_node.home, shared_node.java, folder=shared_node.folder, port=0, heap_mb=128)
    with pytest.raises(NodeProblem, match=f"already running, started by process {os.getpid()}; stop that first"):
        second.start()


@pytest.mark.contract
def test_a_failed_start_says_why_and_leaves_nothing_running(shared_node: EmbeddedNode) -> None:
    def starts(heap_mb: int) -> EmbeddedNode:
        failing = EmbeddedNode(shared_node.home, shared_node.java, folder=folder, port=0, heap_mb=heap_mb)
        with pytest.raises(NodeProblem) as raised:
            failing.start()
        said.append(str(raised.value))
        return failing

    said: list[str] = []
    folder = shared_node.folder.parent / "failing"
    in_the_way = folder / "data" / "node.lock"
    in_the_way.mkdir(parents=True)
    assert starts(heap_mb=256).process is None
    assert starts(heap_mb=1).process is None
    assert said == [
        f"Elasticsearch did not start: {reason} (its log is {folder / 'logs' / 'output.log'})."
        for reason in (
            f"{in_the_way}: Is a directory",
            "Error occurred during initialization of VM Too small maximum heap",
        )
    ]


@pytest.mark.contract
def test_a_node_that_outlived_its_starter_is_ended_and_its_data_kept(tmp_path: Path) -> None:
    starter = (
        "import os, signal; from pathlib import Path; from include.elastic.node import embedded_node;"
        f"node = embedded_node(Path({str(tmp_path)!r}), port=0, heap_mb=256); node.start();"
        "print(node.process.pid, node.url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    orphan, url = killed.stdout.split()
    with connect(url) as client:
        client.index(index="kept", id="1", document={})
    with elasticsearch_node(tmp_path) as node:
        assert not psutil.pid_exists(int(orphan)) or psutil.Process(int(orphan)).status() == psutil.STATUS_ZOMBIE
        with connect(node.url) as client:
            assert client.exists(index="kept", id="1")
    with pytest.raises(OSError, match="refused"):
        direct.open(node.url, timeout=5)


def test_the_node_is_not_given_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", "postgres://u:secret@h/db")
    node = EmbeddedNode(tmp_path, tmp_path, folder=tmp_path, port=1, heap_mb=256, runner=OURSELVES)
    assert "secret" not in str(node._environment())


def test_any_free_port_is_taken_for_port_0(tmp_path: Path) -> None:
    assert EmbeddedNode(tmp_path, tmp_path, folder=tmp_path, port=0, heap_mb=256, runner=OURSELVES).port > 1_024


def test_nothing_is_fetched_for_an_unknown_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no network
    with pytest.raises(NodeProblem, match=r"Elasticsearch 8.0.0 could not be fetched .* set ELASTICSEARCH_URL"):
        fetch("8.0.0", tmp_path)
