"""From what a person wrote after DATA= to a sources.yaml."""

from collections.abc import Callable
from pathlib import Path

from include.datasets.cdnow import write_cdnow
from include.datasets.completejourney import SHOP_TIMEZONE, write_completejourney
from include.datasets.shop.writing import is_written, write_shop
from include.problem import Problem

DEMO_SESSIONS, DEMO_SEED = 100_000, 1


def _write_demo(folder: Path) -> None:
    if not is_written(folder, sessions=DEMO_SESSIONS, seed=DEMO_SEED):
        write_shop(folder, sessions=DEMO_SESSIONS, seed=DEMO_SEED)


READY_MADE: dict[str, Callable[[Path], None]] = {
    "demo": _write_demo,
    "cdnow": write_cdnow,
    "completejourney": write_completejourney,
}


def prepare(data: str, var_dir: str | Path) -> Path:
    """The sources.yaml of `data`: demo, cdnow or completejourney, written under `var_dir`, or a folder of one's own."""
    if data in READY_MADE:
        folder = Path(var_dir) / "data" / data
        READY_MADE[data](folder)
        return (folder / "sources.yaml").resolve()
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise Problem(
            f"DATA={data}: there is no such folder; give {', '.join(READY_MADE)}, or the folder with your sources.yaml."
        )
    sources = folder / "sources.yaml"
    if not sources.is_file():
        raise Problem(f"DATA={data}: the folder has no sources.yaml; copy sources.example.yaml there and adapt it.")
    return sources.resolve()


def require_same_data(data: str, sources_file: Path, var_dir: Path) -> None:
    """Raise a `Problem` when other data than this was loaded into `var_dir` before: loads add up, so both would mix."""
    noted = var_dir / "data_loaded"
    name = data if data in READY_MADE else str(sources_file)
    before = noted.read_text(encoding="utf-8") if noted.exists() else name
    if before != name:
        raise Problem(
            f"{var_dir} holds what was loaded from {before}, and {name} would be mixed with it; "
            "run `make clean` first, or set VAR_DIR to a folder of its own."
        )
    noted.write_text(name, encoding="utf-8")


def time_zone(data: str) -> str | None:
    """The time zone whose days a ready-made data set is about, where it is not that of configs.py."""
    return SHOP_TIMEZONE if data == "completejourney" else None
