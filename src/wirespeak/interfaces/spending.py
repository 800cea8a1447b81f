"""What a cascade may ask and spend in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wirespeak.errors import OptionError

if TYPE_CHECKING:
    from wirespeak.detect.cascade import Budget


@dataclass(frozen=True)
class Spending:
    """budget: what the models may cost. large: a model to ask last, at `price` a row (the unit is the budget's)."""

    budget: Budget | None = None
    large: str | None = None
    price: float = 0.0

    def allow(self, detector: Any, device: str) -> None:
        """Tell a detector of it. Raises OptionError where that would mean nothing."""
        if self.large:
            from wirespeak.detect.larger import ask_also

            ask_also(detector, self.large, price=self.price, device=device)
        elif self.price:
            raise OptionError("--price is what --large costs. Name one, or leave it out.")
        if self.budget is None:
            return
        from wirespeak.detect.cascade import Cascade
        from wirespeak.detect.cascaded import Cascaded

        if not isinstance(detector, Cascade | Cascaded):
            raise OptionError(
                f"--budget is for cascades, and {detector.name} is none. Use --model cascade, train one, or leave it out."
            )
        if self.budget.money is not None and not self.price:
            raise OptionError("a budget of money needs --large and --price: nothing else costs any.")
        detector.budget = self.budget

    @property
    def reproducible(self) -> bool:
        """Whether another run gives the same answers: what is done in a time depends on the machine."""
        return self.budget is None or (self.budget.seconds is None and self.budget.flows_per_s is None)


FREE = Spending()
