"""`configs.py` as a table: what docs/configuration.md and `.env.example` are generated from."""

import ast
from dataclasses import dataclass

import configs

CONFIGS = configs.PROJECT_ROOT / "configs.py"


@dataclass(frozen=True)
class Setting:
    """One constant of configs.py: its default as text, and the comment that says what it changes."""

    name: str
    default: str
    comment: str
    section: str


def settings() -> list[Setting]:
    """All settings in the order of the file, each under its heading."""
    text = CONFIGS.read_text(encoding="utf-8")
    lines = text.splitlines()
    headings = {
        number: line.strip("# ─")
        for number, line in enumerate(lines, start=1)
        if line.startswith("# ──") and line.strip("# ─")
    }
    found = []
    for node in ast.parse(text).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        call = node.value
        if not (isinstance(call.func, ast.Name) and call.func.id == "env"):
            continue
        assert isinstance(node.end_lineno, int)
        comment = lines[node.end_lineno - 1].partition("  # ")[2].strip()
        section = headings[max(number for number in headings if number < node.lineno)]
        name = ast.literal_eval(call.args[0])
        found.append(Setting(name, _default(call.args[1]), comment, section))
    return found


def _default(node: ast.expr) -> str:
    """The default as a person would write it in the environment."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    text = ast.unparse(node)
    # names("a, b"), days_by_name("a:1"): what is between the quotes.
    if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return (
        text.removeprefix("str(PROJECT_ROOT / ").removesuffix(")").strip("'")
        if text.startswith("str(")
        else text.removeprefix("f'").removesuffix("'").replace("{VAR_DIR}", "var")
    )


def render_documentation() -> str:
    """docs/configuration.md."""
    parts = [
        "# Configuration",
        "",
        "<!-- Written by `make generate` from configs.py. -->",
        "",
        "Every setting has a default that runs the first example. Set an environment variable of the same name to",
        "change one; in production, set it for every Airflow process. Credentials are never settings: they live in",
        "Airflow connections. The data itself is described in `sources.yaml`, see [sources.md](sources.md).",
        "",
        "`SCHEDULE` is `manual` (runs are triggered by hand), `once`, `hourly`, `12-hourly`, `daily`, `weekly` (on the",
        "first day of the week) or a cron expression of five parts, read in `BUSINESS_TIMEZONE`.",
    ]
    section = ""
    for setting in settings():
        if setting.section != section:
            section = setting.section
            parts += ["", f"## {section}", "", "| setting | default | what it changes |", "|---|---|---|"]
        default = f"`{setting.default}`" if setting.default else "(empty)"
        parts.append(f"| `{setting.name}` | {default} | {setting.comment} |")
    return "\n".join(parts) + "\n"
