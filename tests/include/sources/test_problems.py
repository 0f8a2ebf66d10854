import zlib

import pytest
from botocore.exceptions import NoCredentialsError
from gcsfs.retry import HttpError
from google.auth.exceptions import DefaultCredentialsError

from include.sources.problems import SourceError, SourceUnreachable, said_plainly


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file"), "sessions: there is no x.csv; correct `path` in sources.yaml."),
        (
            PermissionError(13, "Permission denied"),
            "sessions: there is no permission to read x.csv; grant it, or correct `connection` in sources.yaml.",
        ),
        (EOFError("ended early"), "sessions: x.csv is damaged, it is not a whole gzip file; copy it again."),
        (zlib.error("bad"), "sessions: x.csv is damaged, it is not a whole gzip file; copy it again."),
        (
            SourceError("x.csv is empty: it has not even a line with column names."),
            "x.csv is empty: it has not even a line with column names.",
        ),
    ],
)
def test_what_will_not_heal(error: Exception, sentence: str) -> None:
    with pytest.raises(SourceError) as caught, said_plainly("sessions", "x.csv"):
        raise error
    assert "\n" not in str(caught.value)
    assert str(caught.value) == sentence
    assert not caught.value.retry


@pytest.mark.parametrize(
    ("where", "error", "sentence"),
    [
        (
            "x.csv",
            OSError(5, "Input/output error"),
            "x.csv cannot be read ([Errno 5] Input/output error); check the disk.",
        ),
        (
            "s3://shop/x",
            NoCredentialsError(),
            "s3://shop/x cannot be read (Unable to locate credentials); check the network and the Airflow connection.",
        ),
        (
            "gs://shop/x.csv",
            DefaultCredentialsError("no credentials\nfound"),
            "gs://shop/x.csv cannot be read (no credentials found); check the network and the Airflow connection.",
        ),
        (
            "gs://shop/x.csv",
            HttpError({"message": "backend", "code": 503}),
            "gs://shop/x.csv cannot be read (backend, 503); check the network and the Airflow connection.",
        ),
    ],
)
def test_what_may_heal(where: str, error: Exception, sentence: str) -> None:
    with pytest.raises(SourceUnreachable) as caught, said_plainly("sessions", where):
        raise error
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"sessions: {sentence}"
    assert caught.value.retry


def test_our_own_mistakes_stay_visible() -> None:
    with pytest.raises(KeyError), said_plainly("sessions", "x.csv"):
        raise KeyError("a bug")
