"""Scores of several analyses become one update per customer."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd

from include.elastic.documents import score_documents
from include.pipeline.publish import side_by_side

DAY = date(2024, 5, 5)


def test_scores_of_several_analyses_are_one_update_per_customer() -> None:
    rfm = pd.DataFrame({"client": ["a", "b"], "frequency": [3, 1], "rfm_as_of": DAY})
    churn = pd.DataFrame({"client": ["b", "a"], "probability_alive": [0.1, 0.2], "churn_as_of": DAY})
    value = pd.DataFrame({"client": ["a", "c"], "probability_alive": [0.7, 0.8], "clv": [10.0, None]})
    found = side_by_side([rfm, churn, value])
    lines = [json.loads(line) for one in score_documents(found) for line in one.splitlines()]
    documents = {
        action["update"]["_id"]: change["doc"]["scores"] for action, change in zip(lines[::2], lines[1::2], strict=True)
    }
    assert documents == {
        "a": {
            "frequency": 3, "rfm_as_of": "2024-05-05", "churn_as_of": "2024-05-05", "probability_alive": 0.7, "clv": 10,
        },
        "b": {
            "frequency": 1, "rfm_as_of": "2024-05-05", "churn_as_of": "2024-05-05", "probability_alive": None,
            "clv": None,
        },
        "c": {
            "frequency": None, "rfm_as_of": None, "churn_as_of": None, "probability_alive": 0.8, "clv": None,
        },
    }  # fmt: skip


def test_scores_of_one_analysis_stay_as_they_are() -> None:
    rfm = pd.DataFrame({"client": ["a", "b"], "frequency": [3, 1]})
    pd.testing.assert_frame_equal(side_by_side([rfm]), rfm)
