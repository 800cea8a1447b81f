"""Start one of our own tools from a command line: `python -m wirespeak.lab.attacks.MODULE FUNCTION JSON`."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Callable
from typing import Any


def start(*functions: Callable[..., Any]) -> None:
    """Run the function named first on the command line with the arguments in the JSON object named second."""
    function = {candidate.__name__: candidate for candidate in functions}[sys.argv[1]]
    result = function(**json.loads(sys.argv[2]))
    if inspect.isawaitable(result):
        asyncio.run(_wait(result))


async def _wait(result: Any) -> None:
    await result


class Pace:
    """A steady rate: `wait_s()` says how long until the next turn."""

    def __init__(self, rate: float) -> None:
        self.gap_s = 1 / rate
        self.due = time.monotonic()

    def wait_s(self) -> float:
        """Seconds to sleep before the next turn; a late caller may catch up by at most half a second."""
        now = time.monotonic()
        self.due = max(self.due + self.gap_s, now - 0.5)
        return max(0.0, self.due - now)
