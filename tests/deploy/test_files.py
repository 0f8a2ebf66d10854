"""docker-compose.yaml, Dockerfile and .env: valid, complete, in step with each other and with Airflow's settings."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from airflow.configuration import conf

import configs
from tests.deploy.compose import (
    COMPOSE_FILE,
    ROOT,
    dockerfile_environment,
    dockerfile_instructions,
    env_values,
    interpolated,
    services,
    variables,
)

BIN = Path(sys.executable).parent
GENERATE = [sys.executable, str(ROOT / "deploy" / "generate_env.py")]


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("deploy") / ".env"
    subprocess.run([*GENERATE, str(file)], check=True, stdout=subprocess.DEVNULL)
    return file


def test_the_compose_file_obeys_the_compose_specification(env_file: Path, tmp_path: Path) -> None:
    filled = tmp_path / "docker-compose.yaml"
    filled.write_text(interpolated(COMPOSE_FILE.read_text(encoding="utf-8"), env_values(env_file)), encoding="utf-8")
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    for file in (COMPOSE_FILE, filled):
        checked = subprocess.run([*checker, str(file)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dockerfile_passes_its_linter() -> None:
    linted = subprocess.run(
        [str(BIN / "hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_a_new_env_file_is_private_complete_and_never_overwritten(env_file: Path) -> None:
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    text = env_file.read_text(encoding="utf-8")
    read = variables(COMPOSE_FILE.read_text(encoding="utf-8"))
    assert set(env_values(env_file)) == {name for name, default in read.items() if default is None}
    shown = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("# ") and "=" in line)
    assert shown == {name: default for name, default in read.items() if default is not None}
    again = subprocess.run([*GENERATE, str(env_file)], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "already there" in again.stderr
    assert env_file.read_text(encoding="utf-8") == text


def test_every_env_file_has_secrets_of_its_own(env_file: Path, tmp_path: Path) -> None:
    subprocess.run([*GENERATE, str(tmp_path / ".env")], check=True, stdout=subprocess.DEVNULL)
    other = env_values(tmp_path / ".env")
    mine = env_values(env_file)
    assert not set(mine.values()) & set(other.values())
    assert len(set(mine.values())) == len(mine)
    assert min(map(len, mine.values())) >= 40


def test_no_secret_is_in_a_committed_file_or_in_the_image() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/.env" in ignored
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    assert not {name for name in dockerfile_environment() if "PASSWORD" in name or "SECRET" in name or "KEY" in name}


def test_airflow_knows_every_setting(env_file: Path) -> None:
    described = conf.configuration_description
    for name, service in services(env_values(env_file)).items():
        for setting in {**service.get("environment", {}), **dockerfile_environment()}:
            if setting.startswith("AIRFLOW__"):
                section, key = setting.lower().split("__")[1:]
                assert key in described[section]["options"], f"{name}: {setting}"


def test_every_other_setting_of_airflow_services_is_one_of_ours(env_file: Path) -> None:
    ours = {name for name in vars(configs) if name.isupper()}
    systems = {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "GX_ANALYTICS_ENABLED"}
    systems |= {"AIRFLOW_HOME", "AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", "AIRFLOW_CONN_KIBANA_DEFAULT"}
    for name, service in services(env_values(env_file)).items():
        if name.startswith("airflow-") and name != "airflow-init":
            settings = {**service["environment"], **dockerfile_environment()}
            assert {one for one in settings if not one.startswith("AIRFLOW__")} <= ours | systems, name


def test_the_defaults_are_those_of_the_configuration() -> None:
    read = variables(COMPOSE_FILE.read_text(encoding="utf-8"))
    for name in ("TASKS_AT_ONCE", "ENGINE_MEMORY_MB", "SCHEDULE", "BUSINESS_TIMEZONE", "AIRFLOW_PORT"):
        assert read[name] == str(getattr(configs, name)), name
    assert read["ELASTIC_VERSION"] == configs.EMBEDDED_ELASTICSEARCH_VERSION


def test_services_wait_for_what_they_need_and_have_limits(env_file: Path) -> None:
    found = services(env_values(env_file))
    for name, service in found.items():
        assert "mem_limit" in service, name
        for needed, how in service.get("depends_on", {}).items():
            condition = "service_healthy" if "healthcheck" in found[needed] else "service_completed_successfully"
            # Runs do without Kibana.
            optional = {"required": False} if needed == "kibana-setup" else {}
            assert how == {"condition": condition} | optional, f"{name} waits for {needed}"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    connection = json.loads(found["airflow-worker"]["environment"]["AIRFLOW_CONN_ELASTICSEARCH_DEFAULT"])
    assert connection["host"] in found
    volumes = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["volumes"]
    mounted = {volume.split(":")[0] for service in found.values() for volume in service.get("volumes", ())}
    assert mounted - set(volumes) == {"./data"}
    assert set(volumes) <= mounted


def test_a_service_that_ends_is_one_that_another_waits_for(env_file: Path) -> None:
    """Else `docker compose up --wait` takes its end for a failure."""
    found = services(env_values(env_file))
    awaited = {needed for service in found.values() for needed in service.get("depends_on", {})}
    ending = {name for name, service in found.items() if service["restart"].startswith("on-failure")}
    assert ending == {"elasticsearch-setup", "kibana-setup", "airflow-init"}
    assert ending <= awaited


def test_the_scripts_that_services_run_are_in_the_image(env_file: Path) -> None:
    copied = {word for name, rest in dockerfile_instructions() if name == "COPY" for word in rest.split()}
    scripts = {
        word for service in services(env_values(env_file)).values() for word in service.get("command", ())
        if word.startswith("deploy/")
    }  # fmt: skip
    assert len(scripts) == 3
    assert scripts <= copied


def test_what_the_dockerfile_copies_is_there_and_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    copied = [rest.split() for name, rest in dockerfile_instructions() if name == "COPY" and "--from" not in rest]
    sources = [source for words in copied for source in words[:-1]]
    assert len(sources) >= 6
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_the_image_has_the_very_versions_of_the_lock() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        # An added package may lift a marker; the versions stay.
        return {line.split(";")[0].strip() for line in lines if line and line[0] not in "# "}

    assert pins("requirements.lock") <= pins("deploy/requirements.lock")


def test_the_shell_script_is_valid() -> None:
    assert shutil.which("bash")
    subprocess.run(["bash", "-n", str(ROOT / "deploy" / "init_airflow.sh")], check=True)
    assert not os.access(ROOT / ".env", os.F_OK) or stat.S_IMODE((ROOT / ".env").stat().st_mode) == 0o600
