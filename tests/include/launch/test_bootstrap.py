"""The environment is made from the lock files, and says in one line what is missing."""

from pathlib import Path

import pytest

from include.launch import bootstrap


def test_nothing_is_missing_here() -> None:
    assert bootstrap.missing() == ""


def test_an_old_python_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    assert bootstrap.missing().startswith("Python 3.11 or newer is needed, this is 3.9: sudo apt-get install")


def test_a_changed_lock_file_changes_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    (tmp_path / "requirements.lock").write_text("a==1\n")
    before = bootstrap.fingerprint(["requirements.lock"])
    (tmp_path / "requirements.lock").write_text("a==2\n")
    assert bootstrap.fingerprint(["requirements.lock"]) != before
