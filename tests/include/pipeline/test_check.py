"""Staging and scratch space are tried for real, and what is wrong with them is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from include.pipeline.check import require_room, require_writable
from include.problem import Problem


def test_a_writable_folder_passes_and_nothing_stays(tmp_path: Path) -> None:
    assert require_writable(str(tmp_path / "new" / "staging")) == "writable"
    assert list((tmp_path / "new" / "staging").iterdir()) == []


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        Problem, match=r"STAGING_URL \(.*/file/staging\) cannot be written to: .*Give this user the right"
    ):
        require_writable(str(tmp_path / "file" / "staging"))
    with pytest.raises(Problem, match=r"TEMPORARY_DIR \(.*\) cannot be written to: Not a directory"):
        require_room(tmp_path / "file" / "tmp")


def test_too_little_room_says_how_much_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "TEMPORARY_FREE_BYTES", 10**18)
    with pytest.raises(Problem, match=r"has [\d.]+ GB free and 1000000000\.0 GB are wanted; make room"):
        require_room(tmp_path)
    monkeypatch.setattr(configs, "TEMPORARY_FREE_BYTES", 1)
    assert require_room(tmp_path).endswith("GB free")


@pytest.mark.contract
def test_a_bucket_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    """In a process of its own: Airflow keeps a file system as long as the process lives."""
    code = (
        "from include.pipeline.check import require_writable\nfrom include.problem import Problem\n"
        "try:\n    require_writable('s3://no-bucket/staging')\nexcept Problem as problem:\n    print('SAID', problem)\n"
    )
    connection = '{"conn_type": "aws", "login": "a", "password": "hidden-key", "extra": {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}}'  # noqa: E501
    environment = {**os.environ, "AIRFLOW_CONN_AWS_DEFAULT": connection, "TEMPORARY_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=configs.PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert "STAGING_URL (s3://no-bucket/staging) cannot be written to" in said
    assert "hidden-key" not in done.stdout + done.stderr
