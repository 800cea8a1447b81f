"""Our own flows as others have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from wirespeak.data.sources import cicids2017, farm_flow, nfstream, nsl_kdd, ton_iot, unsw_nb15, zeek

VIEWS = {
    "farm-flow": farm_flow.view, "cicflowmeter": cicids2017.view, "ton-iot": ton_iot.view, "nsl-kdd": nsl_kdd.view,
    "unsw-nb15": unsw_nb15.view, "zeek-conn": zeek.view, "nfstream": nfstream.view,
}  # fmt: skip
"""Our own flows in another dataset's columns: flows and, where they are known, canonical labels -> a table."""

WRITERS: dict[tuple[str, str], Callable[[pl.DataFrame, Path], None]] = {("zeek-conn", ".log"): zeek.write}
"""What is not written as a table: a view, by its name and the end of the file's, as its tool writes it."""
