"""Single verdicts seen among their neighbours, before they are joined to incidents.

A detector that errs on one flow in a hundred leaves odd verdicts inside every attack, and single hostile ones
in ordinary traffic. Left alone, the former become incidents of their own and the latter bridge attacks that
have nothing to do with each other. So each hostile verdict is compared with the ten flows before and after it,
at most 15 s away, between the same two hosts; where two hosts speak too seldom, of the same source or
to the same target. Verdicts themselves never change; this decides only what they are joined to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR, FAR_MS, SELDOM = 10, 15_000, 3
ALONE = 0.2
MINOR = 1 / 3

Ints = NDArray[np.int64]


def settle(
    labels: Ints, source: Ints, target: Ints, time_ms: Ints, kinds: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """The label to join each flow under, and whether it stands alone among ordinary flows.

    labels: 0 is ordinary, 1 to kinds - 1 are hostile. A hostile flow takes the commonest hostile label of its
    surroundings when its own has under a third of the hostile flows there; it stands alone when under a fifth
    of the flows there are hostile.
    """
    if kinds < 2:
        return labels, np.zeros(len(labels), dtype=bool)
    low, high = np.minimum(source, target), np.maximum(source, target)
    around = _around(low * (int(high.max()) + 1) + high, labels, time_ms, kinds)
    seldom = np.flatnonzero(around.sum(axis=1) < SELDOM)
    if len(seldom):
        part = labels[seldom], time_ms[seldom], kinds
        by_source, by_target = _around(source[seldom], *part), _around(target[seldom], *part)
        around[seldom] = np.where((_share(by_source) >= _share(by_target))[:, None], by_source, by_target)
    hostile = around[:, 1:].sum(axis=1)
    own = around[np.arange(len(labels)), labels]
    joined = np.where((labels > 0) & (own < MINOR * hostile), around[:, 1:].argmax(axis=1) + 1, labels)
    return joined, (labels > 0) & (_share(around) < ALONE)


def _share(counts: Ints) -> NDArray[np.float64]:
    """The part of hostile flows."""
    return np.asarray(counts[:, 1:].sum(axis=1) / np.maximum(1, counts.sum(axis=1)))


def _around(key: Ints, labels: Ints, time_ms: Ints, kinds: int) -> Ints:
    """How many flows of each label are near each flow among those of the same key, itself included."""
    _, key = np.unique(key, return_inverse=True)
    order = np.lexsort((time_ms, key))
    # Keys laid end to end on one line of time, too far apart to be near each other.
    line = key[order] * (int(np.ptp(time_ms)) + 2 * FAR_MS) + (time_ms[order] - time_ms.min())
    place = np.arange(len(order))
    start = np.maximum(place - NEAR, np.searchsorted(line, line - FAR_MS, "left"))
    stop = np.minimum(place + NEAR + 1, np.searchsorted(line, line + FAR_MS, "right"))
    counts = np.empty((len(order), kinds), dtype=np.int64)
    for kind in range(kinds):
        before = np.concatenate([[0], np.cumsum(labels[order] == kind)])
        counts[order, kind] = before[stop] - before[start]
    return counts
