"""From the snapshot to the indexes `orders` and `downloads`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from include.pipeline.analyse import staged_snapshot
from include.pipeline.run import run_from_context, said_plainly

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

log = logging.getLogger(__name__)
