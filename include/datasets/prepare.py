"""From what a person wrote after DATA= to a sources.yaml."""

from pathlib import Path

from include.datasets.cdnow import write_cdnow
from include.problem import Problem


def prepare(data: str, var_dir: str | Path) -> Path:
    """The sources.yaml of `data`: "cdnow", which is written under `var_dir`, or a folder of one's own."""
    if data == "cdnow":
        folder = Path(var_dir) / "data" / "cdnow"
        write_cdnow(folder)
        return (folder / "sources.yaml").resolve()
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise Problem(f"DATA={data}: there is no such folder; give cdnow, or the folder with your sources.yaml.")
    sources = folder / "sources.yaml"
    if not sources.is_file():
        raise Problem(f"DATA={data}: the folder has no sources.yaml; copy sources.example.yaml there and adapt it.")
    return sources.resolve()
