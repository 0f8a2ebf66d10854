"""What goes wrong between us and a source's data, in one sentence each."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from include.problem import Problem


class SourceError(Problem):
    """One sentence on what is wrong with a source's data and what to do about it."""


class SourceUnreachable(SourceError):
    """The place where a source lives does not answer; later it may."""

    retry = True


@contextmanager
def said_plainly(source: str, where: str) -> Iterator[None]:
    """Errors of disks and object stores, as `SourceError`s that name the source and the file."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{source}: there is no {where}; correct `path` in sources.yaml.") from None
    except PermissionError:
        raise _no_permission(source, where) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise SourceError(f"{source}: {where} is damaged, it is not a whole gzip file; copy it again.") from None
    except _storage_errors() as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        # Google Cloud Storage: what is forbidden is no PermissionError there, and a login that is none is tried again.
        if getattr(error, "code", None) in (401, 403) or (type(error) is OSError and reason.startswith("Forbidden: ")):
            raise _no_permission(source, where) from None
        remedy = "check the network and the Airflow connection" if "://" in where else "check the disk"
        raise SourceUnreachable(f"{source}: {where} cannot be read ({reason}); {remedy}.") from None


def _no_permission(source: str, where: str) -> SourceError:
    remedy = "grant it, or correct `connection` in sources.yaml"
    return SourceError(f"{source}: there is no permission to read {where}; {remedy}.")


def _storage_errors() -> tuple[type[Exception], ...]:
    """What the file systems raise. Imported only once something went wrong: these libraries are slow to load."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from gcsfs.retry import HttpError as GoogleHttpError
    from google.auth.exceptions import GoogleAuthError

    return OSError, BotoCoreError, ClientError, HttpError, GoogleHttpError, GoogleAuthError
