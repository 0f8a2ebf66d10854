"""Settings are documented, overridable and light."""

import os
import subprocess
import sys

import pytest

import configs
from include.schemas.settings import settings


def test_every_constant_is_a_setting_with_a_sentence() -> None:
    constants = {name for name in vars(configs) if name.isupper() and name not in ("PROJECT_ROOT", "T")}
    assert {setting.name for setting in settings()} == constants
    assert all(setting.comment for setting in settings())


def test_the_environment_overrides_and_a_wrong_value_is_named() -> None:
    def told(**environment: str) -> subprocess.CompletedProcess[str]:
        code = "import configs; print(configs.BULK_RETRIES, configs.VAR_DIR)"
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            cwd=configs.PROJECT_ROOT,
        )

    assert told(BULK_RETRIES="3", VAR_DIR="/elsewhere").stdout.split() == ["3", "/elsewhere"]
    wrong = told(BULK_RETRIES="many")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "configs.py: the environment variable BULK_RETRIES='many' is not a valid int."


def test_configs_imports_the_standard_library_only() -> None:
    code = "import sys, configs; print(*{m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=configs.PROJECT_ROOT
    )
    assert set(done.stdout.split()) <= {"configs", "__main__"}


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("0", False)])
def test_booleans(text: str, expected: bool) -> None:
    assert configs.boolean(text) is expected
