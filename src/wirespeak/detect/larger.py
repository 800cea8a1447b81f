"""The last stage of a cascade: a larger model, asked about the rows of which the cascade's own is still unsure."""

from __future__ import annotations

from pathlib import Path

from wirespeak.contracts import Detector
from wirespeak.detect.asked import ZeroShot
from wirespeak.detect.cascade import Cascade
from wirespeak.detect.cascaded import Cascaded
from wirespeak.detect.drawer import load, load_of_flows
from wirespeak.detect.language import LanguageDetector, plain_format
from wirespeak.errors import OptionError
from wirespeak.text.levels import level_columns


def ask_also(cascade: Detector, name: str, *, price: float = 0.0, device: str = "auto") -> None:
    """Have `cascade` ask `name` where it is unsure: a detector that `wirespeak train` wrote, or any language model.

    A model that was not taught these labels is told them and asked as it is. price: of a row, for a budget of money.
    Raises OptionError where `cascade` is none, ModelError where `name` cannot be loaded or knows other labels.
    """
    inner = cascade.cascade if isinstance(cascade, Cascaded) else cascade
    if not isinstance(inner, Cascade):
        raise OptionError(
            f"--large is the last stage of a cascade, and {cascade.name} is none. Use --model cascade, or leave --large out."
        )
    of_table = isinstance(cascade, Cascaded) and not cascade.encoding.lenient
    if (Path(name) / "encoding.json").is_file():
        larger: Detector = (load if of_table else load_of_flows)(Path(name), device=device)
    elif isinstance(cascade, Cascaded):
        larger = ZeroShot.beside(cascade, name, device=device)
    else:
        larger = LanguageDetector.load(name, device=device)
        if set(larger.labels) != set(inner.labels):
            larger = LanguageDetector(
                larger.model, inner.labels, level="detailed", format=plain_format(larger.model)
            )
    level = larger.level if isinstance(larger, LanguageDetector) else "compact"
    columns = () if level == "compact" else level_columns(level)
    inner.ask_also(larger, price, [column.name for column in columns])
