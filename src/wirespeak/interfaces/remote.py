"""What a run owes to servers elsewhere: how much was asked of them, and that another run may be answered otherwise."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wirespeak.interfaces.output import Run


def noted(run: Run, detector: Any) -> None:
    """Put on the run's record what each server was asked that a detector's models are at, if any is.

    >>> noted(run := Run("detect"), object())
    >>> run.reproducible
    True
    """
    from wirespeak.lm.endpoint import EndpointLanguageModel

    cascade = getattr(detector, "cascade", None) or detector
    models = (getattr(one, "model", None) for one in (detector, getattr(cascade, "large", None)))
    asked = [model for model in models if isinstance(model, EndpointLanguageModel)]
    if asked:
        run.reproducible = False
        run.notes["servers"] = [
            {"model": one.model, **asdict(one.usage), "cost": one.usage.cost, "unparsed": one.unparsed}
            for one in asked
        ]
