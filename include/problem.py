"""The error a person is meant to read."""


class Problem(Exception):
    """One clear sentence: what is wrong, where, and what to do.

    Its text is the whole message, so it never carries a secret. `retry` says whether trying the same thing again may
    help: a server that does not answer may come back, a wrong column name will not mend itself.
    """

    retry = False
