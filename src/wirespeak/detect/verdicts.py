"""A detector's answers as the verdict table that every later stage and `verdicts.parquet` share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.schema import category

SHOWN = ("flow_id", "first_seen", "src", "dst", "src_port", "dst_port", "protocol")


def answer_of(canonical: str, answer: str) -> str:
    """The label that a flow of a recording is to get, which has a canonical one.

    >>> answer_of("flood.syn", "family"), answer_of("flood.syn", "binary"), answer_of("flood.syn", "multiclass")
    ('flood', 'attack', 'flood.syn')
    """
    if answer == "binary":
        return canonical if canonical == "normal" else "attack"
    return category(canonical) if answer == "family" else canonical


UNRECORDED = ("802.15.4",)
"""Protocols that no recording has, so that a model of recordings knows nothing of them: the lab's links are Ethernet."""


def judge(
    detector: Detector,
    flows: pl.DataFrame,
    *,
    canonical: Mapping[str, str] | None = None,
    unlearnt: Collection[str] = (),
) -> pl.DataFrame:
    """One verdict a flow, in the flows' order. See `tabled`. Flows of a protocol in `unlearnt` are not judged, and say so."""
    known = ~flows["protocol"].is_in(list(unlearnt))
    chances = np.full((len(flows), len(detector.labels)), np.nan, np.float32)
    if known.any():
        chances[known.to_numpy()] = detector.predict(flows.filter(known))
    reason = pl.format("no recording of {} was learnt from", "protocol")
    return tabled(detector, chances, flows.select(SHOWN), canonical=canonical).with_columns(
        pl.when(known).then("set_aside").otherwise(reason).alias("set_aside")
    )


def tabled(
    detector: Detector,
    chances: NDArray[np.float32],
    shown: pl.DataFrame,
    *,
    canonical: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Probabilities as the verdict table.

    shown: the columns `SHOWN` of what was judged. canonical: what the detector's labels are called in
    `schema.LABELS`, where it does not speak of those. Columns: `SHOWN`; label (the detector's own), canonical,
    probability (of the label), p_LABEL for each label, score_attack (1 minus the probability of `normal`),
    detector, set_aside (reason, or null). A row without a usable answer has label null and a reason; it is never
    called normal.
    """
    chances = chances.astype(np.float64)
    answered: NDArray[np.bool_] = np.asarray(np.isfinite(chances).all(axis=1))
    best = np.where(answered, np.nan_to_num(chances).argmax(axis=1), 0)
    labels = np.array(detector.labels, object)[best]
    rounded = chances.round(6)
    label = pl.Series(
        "label", [name if ok else None for name, ok in zip(labels, answered, strict=True)], dtype=pl.String
    )
    known = dict(canonical or {name: name for name in detector.labels})
    top = rounded[np.arange(len(best)), best]
    ordinary = [place for place, name in enumerate(detector.labels) if known[name] == "normal"]
    attack = 1.0 - rounded[:, ordinary].sum(axis=1) if ordinary else np.full(len(best), np.nan)
    return shown.with_columns(
        label,
        label.replace_strict(known, return_dtype=pl.String).alias("canonical"),
        pl.Series("probability", np.where(answered, top, np.nan)).fill_nan(None),
        *(
            pl.Series(f"p_{name}", rounded[:, place]).fill_nan(None)
            for place, name in enumerate(detector.labels)
        ),
        pl.Series("score_attack", attack.round(6)).fill_nan(None),
        pl.lit(detector.name).alias("detector"),
        pl.Series("set_aside", [None if ok else "no usable answer" for ok in answered], dtype=pl.String),
    )
