"""Make `.venv` hold the pinned requirements. Runs under the system's Python, before anything is installed.

    python3 include/launch/bootstrap.py requirements.lock [requirements-dev.lock]

Does nothing when the environment already holds exactly these files. Standard library only, and old syntax only, so that
even an outdated Python gets as far as saying that it is outdated.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENV = os.path.join(ROOT, ".venv")


def missing():  # type: () -> str
    """One line that says what this machine lacks and the command that installs it; empty when it lacks nothing."""
    if sys.version_info < (3, 11):
        found = "%d.%d" % sys.version_info[:2]
        return (
            "Python 3.11 or newer is needed, this is %s: sudo apt-get install python3.11 (macOS: brew install python@3.12), then: make PYTHON=python3.12 run"
            % found
        )
    if importlib.util.find_spec("ensurepip") is None:
        return "Python's venv module is missing: sudo apt-get install python3-venv"
    return ""


def fingerprint(files):  # type: (list[str]) -> str
    """Changes when a lock file or the Python does."""
    digest = hashlib.sha256(sys.version.encode())
    for name in files:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def main(files):  # type: (list[str]) -> int
    trouble = missing()
    if trouble:
        print(trouble, file=sys.stderr)
        return 1
    stamp = os.path.join(VENV, "installed-" + files[-1])
    wanted = fingerprint(files)
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == wanted:
                return 0
    python = os.path.join(VENV, "bin", "python")
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if not os.path.exists(os.path.join(VENV, "bin", "pip")):
        print("Creating .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    print("Installing the pinned requirements (once; about a minute)", flush=True)
    get_uv = [python, "-m", "pip", "install", "--quiet", "uv"]
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    for name in files:
        install += ["-r", os.path.join(ROOT, name)]
    if subprocess.run(get_uv, env=quiet).returncode != 0 or subprocess.run(install).returncode != 0:
        print(
            "The requirements could not be installed (see above); check the network and run the same again.",
            file=sys.stderr,
        )
        return 1
    # The environment now also holds what the shorter lists ask for.
    for count in range(1, len(files) + 1):
        with open(os.path.join(VENV, "installed-" + files[count - 1]), "w") as file:
            file.write(fingerprint(files[:count]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
