"""Lines of orders that have a key: within a load each occurs once, and none is without one."""

import pytest

import configs
from include.quality.validate import validate_rows
from include.sources.definition import ColumnMapping
from include.staging.storage import storage
from tests.include.quality.conftest import LATEST, Extract, MakeSource, quarantined, rows_of


def test_of_lines_with_the_same_key_the_newest_is_kept(
    make_source: MakeSource, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "MAX_QUARANTINED_SHARE", 1.0)
    names = {"order_id": "o", "line_id": "l", "product": "a", "price": "p"}
    source = make_source(
        "products",
        columns={name: ColumnMapping(columns=(column,)) for name, column in names.items()},
        changed_at="c",
    )
    text = (
        "o,l,a,p,c\n1,1,tea,1,2024-02-02\n1,1,jam,2,2024-02-01\n1,2,rye,3,2024-02-01\n2,1,bun,4,2024-02-01\n1,,egg,5,\n"
    )
    found = extract(source, text)
    target = storage(configs.STAGING_URL) / "run"
    # The Great Expectations suite, with the same rules, lets the rest through.
    done = validate_rows(
        source, found, customer_files=(), snapshot=None, target=target, run_id="manual__1", latest=LATEST
    )
    assert done.by_rule == {"duplicate_line_id": 1, "line_id_missing": 1}
    kept = {(row["order_id"], row["line_id"], row["product"], row["quantity"]) for row in rows_of(done.files)}
    assert kept == {("1", "1", "tea", 1.0), ("1", "2", "rye", 1.0), ("2", "1", "bun", 1.0)}
    assert [(row["row"], row["rules"]) for row in quarantined("products")] == [
        (3, ["duplicate_line_id"]),
        (6, ["line_id_missing"]),
    ]
