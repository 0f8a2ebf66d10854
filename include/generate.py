"""`make generate`: write every generated file again. A test of each says when it is stale."""

import sys

from include.dashboards import kibana
from include.measures import documentation as metrics
from include.quality import documentation as quality
from include.quality import suites
from include.schemas import settings


def rendered() -> dict[str, str]:
    """Path below the project's root → what the file should hold."""
    return {
        "include/dashboards/kibana.ndjson": kibana.render(),
        "docs/configuration.md": settings.render_documentation(),
        "docs/metrics.md": metrics.render(),
        "docs/quality.md": quality.render(),
        **suites.rendered(),
    }


def main() -> int:
    import configs

    for name, text in rendered().items():
        path = configs.PROJECT_ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
