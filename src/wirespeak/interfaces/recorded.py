"""Recordings as a labelled dataset: folders of packets and truth, beside the files of published ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wirespeak.errors import OptionError

if TYPE_CHECKING:
    from wirespeak.data.dataset import Dataset

CAPTURE, TRUTH = "capture.pcap", "truth.csv"


def are_recordings(paths: Sequence[Path]) -> bool:
    """Whether these are folders rather than files. Raises OptionError for both at once, or two of one name."""
    folders = [path for path in paths if path.is_dir()]
    if folders and len(folders) < len(paths):
        raise OptionError(
            "recordings (folders) and files of datasets cannot be one dataset. Give either the ones or the others."
        )
    names = [path.resolve().name for path in folders]
    if len(set(names)) < len(names):
        raise OptionError("two recordings have the same name. Rename the folder of one.")
    return bool(folders)


def parts(paths: Sequence[Path]) -> list[Path]:
    """The files that are read: those of recordings are their packets and their truth."""
    return [file for path in paths for file in ([path / CAPTURE, path / TRUTH] if path.is_dir() else [path])]


def captures(paths: Sequence[Path]) -> dict[str, Path]:
    """The packets of each recording by its name; none where these are files."""
    return {path.resolve().name: path / CAPTURE for path in paths if path.is_dir()}


def read_recordings(folders: Sequence[Path]) -> Dataset:
    """The flows of recordings, labelled by their truth, as the dataset `recording`.

    Raises InputError where a folder is no recording.
    """
    import polars as pl

    from wirespeak.data.sources import read_dataset
    from wirespeak.lab.labelled import read_recording

    found = []
    for folder in folders:
        recording = read_recording(folder.resolve())
        of = pl.Series("recording", [recording.name] * recording.flows.height, dtype=pl.String)
        found.append(recording.flows.with_columns(recording.labels, of))
    with tempfile.TemporaryDirectory(prefix="wirespeak-") as hidden:
        table = Path(hidden) / "flows.parquet"
        pl.concat(found).write_parquet(table)
        dataset = read_dataset([table], source="recording")
    return replace(dataset, files=tuple(str(folder) for folder in folders), notes=())
