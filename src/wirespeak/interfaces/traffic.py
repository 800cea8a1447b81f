"""From a profile to traffic: the model writes the script, `realise` makes the packets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wirespeak.data import tables
from wirespeak.flow import measure
from wirespeak.flow.realise import realise
from wirespeak.generate.language import LanguageGenerator
from wirespeak.interfaces.output import Run
from wirespeak.lm import load_model
from wirespeak.wire import decode, write_pcap


def write(
    profile: str,
    target: Path,
    run: Run,
    *,
    minutes: float,
    seed: int,
    model: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write `minutes` of `profile` as packets or, by the suffix of `target`, as their flow table; count in `run`."""
    generator = LanguageGenerator(load_model(model))
    written = generator.write(profile, seconds=60 * minutes, seed=seed, progress=progress)
    made = realise(written.steps, seed=seed)
    run.notes["written"] = {
        "answers": written.answers,
        "conversations": written.conversations,
        "cut": written.cut,
        "messages": made.messages,
        "messages_adjusted": made.adjusted,
    }
    rows = len(made.frames)
    if target.suffix == ".pcap":
        write_pcap(target, made.frames)
    else:
        table = measure(decode(made.frames))
        tables.write(table, target)
        rows = table.height
    run.count(taken=written.conversations, given=rows, set_aside=written.set_aside)
