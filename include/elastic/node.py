"""The embedded Elasticsearch: a real node of its core-only distribution, for people without a cluster and for tests.

    with embedded_node(Path(configs.VAR_DIR), port=9200) as node:
        connect(node.url)

Elasticsearch refuses to run as root. Started by root, the node runs under an unprivileged account, and when that
account cannot reach the wanted folder (a checkout in `/root`), everything it needs is kept in a folder of its own below
`/var/tmp`, named after the wanted one.
"""

import hashlib
import json
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

import configs
from include.problem import Problem

log = logging.getLogger(__name__)

OLDEST_JAVA = 17
START_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 30.0
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")  # the node gets these variables only: the others may hold secrets
LAST_WORDS = r"died while starting|did not exit normally"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a loopback address never goes through a proxy


class NodeProblem(Problem):
    """The embedded node could not be fetched or started."""


@dataclass(frozen=True)
class Account:
    """Who the node runs as; `uid` None: whoever we are."""

    uid: int | None = None
    gid: int | None = None

    @property
    def identity(self) -> dict[str, object]:
        """The arguments of `subprocess.run` that make it so."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def runs(self, *command: str | Path) -> str | None:
        """What the command prints when this account can run it, else None."""
        try:
            done = subprocess.run(
                [str(part) for part in command],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                cwd="/",
                check=False,
                **self.identity,  # type: ignore[call-overload]
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout + done.stderr if done.returncode == 0 else None

    def owns(self, *folders: Path) -> None:
        """Make the folders, and hand them and what is in them to this account."""
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if self.uid is None:
                continue
            for path in (folder, *folder.rglob("*")):
                if path.lstat().st_uid != self.uid:
                    os.chown(path, self.uid, self.gid if self.gid is not None else -1, follow_symlinks=False)


def account() -> Account:
    """The account the node runs as: ours, or `nobody` where we are root."""
    if os.geteuid() != 0:
        return Account()
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise NodeProblem(
            "Elasticsearch does not run as root and this machine has no account `nobody`; "
            "run `make run` as an ordinary user."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable_folder(wanted: Path, runner: Account) -> Path:
    """`wanted`, or where `runner` has no way to it, a folder below the system's lasting temporary folder."""
    wanted = wanted.resolve()
    nearest = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
    if runner.uid is None or runner.runs("test", "-x", nearest) is not None:
        return wanted
    stand_in = Path("/var/tmp") / f"customer-analytics-{hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]}"
    stand_in.mkdir(mode=0o755, exist_ok=True)
    # Anyone may write in /var/tmp: what is not ours may be somebody's trap.
    if stand_in.is_symlink() or stand_in.stat().st_uid != os.geteuid() or runner.runs("test", "-x", stand_in) is None:
        raise NodeProblem(
            f"{stand_in} is not ours to use; delete it, or set VAR_DIR to a folder that everyone can enter."
        )
    return stand_in


def fetch(version: str, cache_dir: Path) -> Path:
    """The unpacked distribution, `<cache_dir>/elasticsearch/<version>`; fetched from Maven Central the first time."""
    home = cache_dir / "elasticsearch" / version
    if home.exists():
        return home
    archive = _downloaded(version)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{version}.", dir=home.parent) as aside:
        try:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(aside)
                for member in packed.infolist():
                    # zipfile drops permissions; keep them, readable for the account the node runs as.
                    mode = (member.external_attr >> 16) & 0o777
                    (Path(aside) / member.filename).chmod(mode | (0o755 if member.is_dir() else 0o644))
        except (zipfile.BadZipFile, EOFError) as error:
            archive.unlink()
            raise NodeProblem(
                f"The download {archive} was damaged ({error}) and has been removed; try again."
            ) from None
        (unpacked,) = Path(aside).iterdir()
        (unpacked / "plugins").mkdir(exist_ok=True)
        try:
            unpacked.rename(home)
        except OSError:
            if not home.exists():  # else somebody else was faster, with the same files
                raise
    return home


def _downloaded(version: str) -> Path:
    import jgo.maven
    import requests

    artifact = (
        jgo.maven.MavenContext(timeout=60)
        .project("org.elasticsearch.distribution.integ-test-zip", "elasticsearch")
        .at_version(version)
        .artifact("", "zip")
    )
    try:
        return Path(artifact.resolve())
    except (RuntimeError, OSError, requests.RequestException) as error:
        raise NodeProblem(
            f"Elasticsearch {version} could not be fetched from Maven Central ({_one_line(error)}); check the network, "
            "or set ELASTICSEARCH_URL to a cluster you have."
        ) from None


def find_java(cache_dir: Path, runner: Account | None = None) -> Path:
    """The home of a Java that `runner` can run: ES_JAVA_HOME, JAVA_HOME, `java` on PATH, else one fetched by cjdk."""
    runner = runner or account()
    tried = []
    for place, java in _installed_javas():
        found = _java(java, runner)
        if found and found[0] >= OLDEST_JAVA:
            return found[1]
        tried.append(f"{place} is {f'version {found[0]}' if found else 'not a Java that runs'}")
    import cjdk

    log.info("Fetching a Java runtime")
    try:
        fetched = Path(cjdk.java_home(vendor="temurin", version=str(OLDEST_JAVA), cache_dir=cache_dir / "java"))
    except (cjdk.CjdkError, OSError, RuntimeError) as error:
        reason = _one_line(error)
    else:
        if _java(fetched / "bin" / "java", runner):
            return fetched
        reason = f"the one fetched to {fetched} does not run"
    raise NodeProblem(
        f"Elasticsearch needs Java {OLDEST_JAVA} or newer ({'; '.join([*tried, reason])}); install one "
        "(Debian and Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17) or set ES_JAVA_HOME."
    )


def _installed_javas() -> Iterator[tuple[str, Path]]:
    for variable in ("ES_JAVA_HOME", "JAVA_HOME"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable]) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "java on PATH", Path(on_path)


def _java(java: Path, runner: Account) -> tuple[int, Path] | None:
    """Major version and home of a Java, None where it does not run."""
    said = runner.runs(java, "-XshowSettings:properties", "-version") or ""
    version = re.search(r"java\.specification\.version = (?:1\.)?(\d+)", said)
    home = re.search(r"java\.home = (.+)", said)
    return (int(version[1]), Path(home[1].strip())) if version and home else None


def embedded_node(
    var_dir: Path,
    *,
    port: int = configs.ELASTICSEARCH_PORT,
    heap_mb: int = configs.EMBEDDED_ELASTICSEARCH_HEAP_MB,
    version: str = configs.EMBEDDED_ELASTICSEARCH_VERSION,
) -> "EmbeddedNode":
    """The project's node, fetched where needed and not yet started; its data outlive it. `port` 0: any free one."""
    runner = account()
    folder = reachable_folder(var_dir, runner)
    home = fetch(version, folder)
    java = find_java(folder, runner)
    return EmbeddedNode(home, java, folder=folder / "elasticsearch" / "node", port=port, heap_mb=heap_mb, runner=runner)


class EmbeddedNode:
    """One node and the process that is it. `folder` holds its data, logs, config and temporary files."""

    def __init__(
        self, home: Path, java: Path, *, folder: Path, port: int, heap_mb: int, runner: Account | None = None
    ) -> None:
        self.home, self.java, self.folder = home, java, folder
        self.port, self.heap_mb = port or _free_port(), heap_mb
        self.runner = runner or account()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers and its data are there."""
        self._end_leftover()
        self._check_port()
        self._prepare()
        output = self.logs / "output.log"
        with output.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(self.home / "bin" / "elasticsearch")],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the node when all else has ended
                **self.runner.identity,  # type: ignore[call-overload]
            )
        try:
            self._leave_mark()
            self._wait_until_healthy(output)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it as it wishes; by force when that takes too long."""
        if self.process is not None:
            _end_group(self.process.pid, signal.SIGTERM)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            _end_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            self._mark.unlink(missing_ok=True)

    def _prepare(self) -> None:
        config = self.folder / "config"
        try:
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)
            self.runner.owns(*(self.folder / name for name in ("data", "logs", "config", "tmp")))
            for name in ("jvm.options", "log4j2.properties"):
                shutil.copyfile(self.home / "config" / name, config / name)
            settings = {
                "cluster.name": "customer-analytics",
                "node.name": "embedded",
                "discovery.type": "single-node",
                "xpack.security.enabled": False,
                "network.host": "127.0.0.1",
                "http.port": self.port,
                "path.data": str(self.folder / "data"),
                "path.logs": str(self.logs),
                # A laptop's disk is often nearly full, and then every write would be refused.
                "cluster.routing.allocation.disk.threshold_enabled": False,
            }
            text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
            (config / "elasticsearch.yml").write_text(text, encoding="utf-8")
            self.runner.owns(config)
        except PermissionError as error:
            raise NodeProblem(
                f"{error.filename} belongs to another user: run as that user, or set VAR_DIR to a folder of your own."
            ) from None

    def _environment(self) -> dict[str, str]:
        options = f"-Xms{self.heap_mb}m -Xmx{self.heap_mb}m -Xlog:disable -Xlog:all=warning:stderr"
        return {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "HOME": str(self.folder),
            "ES_JAVA_HOME": str(self.java),
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_TMPDIR": str(self.folder / "tmp"),
            # The user's own come last, and so win.
            "ES_JAVA_OPTS": f"{options} {os.environ.get('ES_JAVA_OPTS', '')}".strip(),
        }

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise NodeProblem(
                    f"Port {self.port} is in use, so Elasticsearch cannot start there; "
                    "stop what uses it or set ELASTICSEARCH_PORT to another."
                ) from None

    def _wait_until_healthy(self, output: Path) -> None:
        process = self.process
        assert process is not None
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise NodeProblem(f"Elasticsearch did not start: {_reason(output)} (its log is {output}).")
            try:
                with direct.open(f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10) as answer:
                    if not json.load(answer)["timed_out"]:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)  # not listening yet, or (408) its data are not all there yet
        raise NodeProblem(
            f"Elasticsearch was not ready after {START_TIMEOUT_SECONDS:.0f} seconds: {_reason(output)} "
            f"(its log is {output})."
        )

    # A node that outlived its starter (which was killed) would hold the data folder and the port. The mark says which
    # process it is and who started it, so that it can be ended, and nothing else ever is.
    @property
    def _mark(self) -> Path:
        return self.folder / "process.json"

    def _leave_mark(self) -> None:
        assert self.process is not None
        marks = {role: _identified(pid) for role, pid in (("node", self.process.pid), ("starter", os.getpid()))}
        self._mark.write_text(json.dumps(marks), encoding="utf-8")

    def _end_leftover(self) -> None:
        try:
            marks = json.loads(self._mark.read_text(encoding="utf-8"))
            node, starter = marks["node"], marks["starter"]
        except (OSError, ValueError, KeyError):
            return  # none, or one cut short
        if not _is_running(node):
            return
        if _is_running(starter):
            raise NodeProblem(
                f"The Elasticsearch in {self.folder} is already running, started by process {starter['pid']}; "
                "stop that first."
            )
        log.info("Ending the Elasticsearch that an earlier run left behind (process %s)", node["pid"])
        _end_group(int(node["pid"]), signal.SIGTERM)
        _end_group(int(node["pid"]), signal.SIGKILL)


def _identified(pid: int) -> dict[str, float]:
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def _is_running(marked: dict[str, float]) -> bool:
    """Whether the very process that was marked still lives; another may have its number by now."""
    try:
        process = psutil.Process(int(marked["pid"]))
        return abs(process.create_time() - marked["created"]) < 1.0 and _lives(process)
    except psutil.NoSuchProcess:
        return False


def _end_group(leader: int, how: signal.Signals) -> None:
    """Signal the process group of `leader` and wait for its end: a dying node still holds its data's lock."""
    members = [process for process in psutil.process_iter() if _group(process.pid) == leader]
    try:
        os.killpg(leader, how)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it (macOS says so with PermissionError)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while any(map(_lives, members)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    try:
        # A zombie's other threads may still be ending, and hold the port and the lock until they have.
        return bool(process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1))
    except psutil.NoSuchProcess:
        return False


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reason(output: Path) -> str:
    """The last thing in the node's output that tells why it failed."""
    text = output.read_text(encoding="utf-8", errors="replace")
    java = re.search(r"^output:\n(.*?)^\s+at ", text, re.DOTALL | re.MULTILINE)
    if java:  # Java itself did not start: what it said stands between these
        said = " ".join(line.strip("# ") for line in java[1].split("\n") if line not in ("", "error:"))
        return said[:200].rstrip(".")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # The launcher's last words are only that the node died; why stands before them.
    told = [line for line in lines if re.match(r"Caused by: |ERROR: |[\w.$]+(Exception|Error): ", line)]
    telling = [line for line in told if not re.search(LAST_WORDS, line)] or told or lines[-1:] or ["it said nothing"]
    return re.sub(r"^(?:(?:Caused by|ERROR): )?(?:[\w.$]+(?:Exception|Error): )*", "", telling[-1]).rstrip(".")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
