"""Two fits compared, by hand."""

from include.measures.drift import drifted, since

NAMES = {"model_r": "r", "model_q": "q"}


def test_what_moved_beyond_the_factor_is_named_with_both_values() -> None:
    before = {"model_r": 0.5, "model_q": 4.0}
    assert drifted(before, {"model_r": 0.74, "model_q": 2.67}, names=NAMES) == []  # 1.48 times, 1 / 1.498
    assert drifted(before, {"model_r": 0.76, "model_q": 2.66}, names=NAMES) == [
        "r from 0.5 to 0.76",
        "q from 4 to 2.66",
    ]


def test_what_is_missing_in_either_is_not_compared() -> None:
    assert drifted({}, {"model_r": 3.0}, names=NAMES) == []
    assert drifted({"model_r": None}, {"model_r": 3.0}, names=NAMES) == []
    assert drifted({"model_r": 3.0}, {"model_r": float("nan")}, names=NAMES) == []
    assert drifted({"model_r": 0.0}, {"model_r": 3.0}, names=NAMES) == []


def test_the_report_compared_with_has_its_date() -> None:
    assert since([{"report_date": "2024-05-05"}, {"report_date": "2024-05-05"}]) == "since the report of 2024-05-05"
    assert since([{"model_r": 1.0}]) == "since the last report"
