"""All reports of each analysis, written straightforwardly in plain polars: one module per analysis.

    files of the staged tables by name, dimension columns, as_of  ->  the numbers of each report, by report type

The modules compute every count and number of the reports, with their intervals, and the fields that a row is found by;
texts, headers and warnings are not computed. Like the peers of one report they hold everything in memory at once and
keep money as floating-point numbers. Weeks begin on Monday.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from importlib import import_module
from pkgutil import iter_modules

import pandas as pd

from benchmarks.analyses_peers import PEERS, Files

Reports = Callable[[Files, Sequence[str], date], dict[str, pd.DataFrame]]
PEERS_OF_ALL: dict[str, Reports] = {
    module.name: import_module(f"{__name__}.{module.name}").reports
    for module in iter_modules(__path__)
    if module.name in PEERS
}
