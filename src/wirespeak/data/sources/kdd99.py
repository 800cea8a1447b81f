"""KDD Cup 1999: the connections NSL-KDD was made from, with all their duplicates."""

from __future__ import annotations

from wirespeak.data.sources.nsl_kdd import CANONICAL, CATEGORIES, FEATURES, LABEL, LEVELS, NAMES
from wirespeak.data.sources.source import Answer, Download, Published, Source

_ADDRESS = "http://kdd.ics.uci.edu/databases/kddcup99/"

SOURCE = Source(
    name="kdd99",
    title="KDD Cup 1999",
    granularity="connection",
    row="one connection of a military network simulated in 1998",
    fields=(*FEATURES, LABEL),
    # Labels end in a full stop there: `smurf.`.
    answers=(
        Answer(
            "label",
            {f"{name}.": label for name, label in CANONICAL.items()},
            {f"{name}.": category for name, category in CATEGORIES.items()},
        ),
    ),
    headerless=((*NAMES, "label"),),
    levels=LEVELS,
    home="http://kdd.ics.uci.edu/databases/kddcup99/kddcup99.html",
    terms="public (UCI KDD archive)",
    fetching="No account is needed.",
    published=(
        Published("kddcup.data_10_percent.gz", 494_021, {}, "train-10-percent", "8045aca0d84e70e622d1148d7df782496f6333bf6eb979a1b0837c42a9fd9561", "scikit-learn, which fetches this file"),
        Published("kddcup.data.gz", 4_898_431, {}, "train", "3b6c942aa0356c0ca35b7b595a26c89d343652c9db428893e7494f837b274292", "scikit-learn, which fetches this file"),
    ),
    downloads=(
        Download("kddcup.data_10_percent.gz", _ADDRESS + "kddcup.data_10_percent.gz", "8045aca0d84e70e622d1148d7df782496f6333bf6eb979a1b0837c42a9fd9561"),
        Download("kddcup.data.gz", _ADDRESS + "kddcup.data.gz", "3b6c942aa0356c0ca35b7b595a26c89d343652c9db428893e7494f837b274292"),
        Download("corrected.gz", _ADDRESS + "corrected.gz"),
    ),
    flaws=(
        "Most rows are duplicates of others (floods, one connection after the other), so a random split trains on its test rows. NSL-KDD is the same data without them.",
        "Labels end in a full stop (`smurf.`).",
        "All that is wrong with NSL-KDD, except the difficulty column, is wrong here too.",
    ),
)  # fmt: skip
