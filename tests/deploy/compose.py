"""docker-compose.yaml and Dockerfile as the programs that run them read them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yaml"
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\})")


def variables(text: str) -> dict[str, str | None]:
    """The variables a compose file reads, each with its default; None: it must be set."""
    found = (match for match in VARIABLE.finditer(text) if match["name"])
    return {match["name"]: match["word"] if match["kind"] == "-" else None for match in found}


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """A compose file's text with its variables filled in: `${NAME:-default}`, `${NAME:?message}` and `$$`."""

    def fill(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        return values[match["name"]] if match["kind"] != "-" else values.get(match["name"]) or match["word"]

    return VARIABLE.sub(fill, text)


def services(values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Every service of the compose file, with the variables filled in and the merges made."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(interpolated(COMPOSE_FILE.read_text(encoding="utf-8"), values))[
        "services"
    ]
    return loaded


def env_values(file: Path) -> dict[str, str]:
    """What a `.env` sets."""
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def dockerfile_instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [(name, " ".join(rest.split())) for name, rest in (line.split(" ", 1) for line in lines)]


def dockerfile_environment() -> dict[str, str]:
    """What the image sets with ENV."""
    pairs = (pair for name, rest in dockerfile_instructions() if name == "ENV" for pair in rest.split())
    return dict(pair.split("=", 1) for pair in pairs)
