"""The verb that passes captures and flow tables on without those who are in them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from wirespeak.errors import InputError, OptionError
from wirespeak.interfaces.options import output_option
from wirespeak.interfaces.output import Outcome, Run, folder, one_file
from wirespeak.interfaces.progress import Say, quiet

if TYPE_CHECKING:
    from wirespeak.flow.anonymise import Anonymised, Anonymiser, Progress

TABLES = (".parquet", ".csv", ".jsonl")
PCAP = ".pcap"
_KEPT = "payload was kept as it is: names, credentials and addresses in it remain. Leave out --payload keep to scrub it."
_NO_KEY = (
    "the key was drawn and forgotten: another file cannot be anonymised alike. Use --key-out to keep it."
)


class Payload(StrEnum):
    """What happens to payload."""

    scrub = "scrub"
    keep = "keep"
    cut = "cut"


def anonymise(
    source: Annotated[
        Path,
        Argument(metavar="IN", help="A capture, a folder of captures, or a flow table.", show_default=False),
    ],
    *,
    output: Annotated[Path, output_option("PATH", "A .pcap file; a table for a table; or a folder.")],
    key: Annotated[
        Path | None,
        Option(
            "--key", metavar="FILE", help="32 bytes or 64 hexadecimal digits.", show_default="a random one"
        ),
    ] = None,
    key_out: Annotated[
        Path | None, Option("--key-out", metavar="FILE", help="Keep the random key in a new file.")
    ] = None,
    payload: Annotated[
        Payload,
        Option(
            "--payload",
            help="scrub: keep the shape of messages; cut: end packets before it; keep: addresses alone are replaced.",
        ),
    ] = Payload.scrub,
    keep_vendor: Annotated[
        bool, Option("--keep-vendor", help="Leave the vendor's part of MAC addresses.")
    ] = False,
    plain_cryptopan: Annotated[
        bool, Option("--plain-cryptopan", help="Map special addresses too, exactly as Crypto-PAn.")
    ] = False,
    shift_times: Annotated[
        bool, Option("--shift-times", help="Move all times into the past, by a span that the key tells.")
    ] = False,
    progress: Say = quiet,
) -> Outcome:
    """Pass a capture or a flow table on, without those who are in it.

    Addresses are mapped with their prefixes preserved (Crypto-PAn), MACs permuted, names and words replaced by others of the same
    length, all other content blanked, checksums put right. The same key gives the same in every file. What was written is read again and
    searched for every identifier that was replaced: where one remains, nothing is written. docs/anonymise.md says what stays.
    """
    from wirespeak.flow.anonymise import Anonymiser, read_key, write_key

    if key and key_out:
        raise OptionError("--key-out keeps a random key, and --key gives one. Leave one of them out.")
    options = {
        "inputs": [source], "output": output, "key": key, "key_out": key_out, "payload": payload, "keep_vendor": keep_vendor,
        "plain_cryptopan": plain_cryptopan, "shift_times": shift_times,
    }  # fmt: skip
    _fits(source, output)
    secret = read_key(key) if key else secrets.token_bytes(32)
    worker = Anonymiser(
        secret, payload=payload.value, plain=plain_cryptopan, keep_vendor=keep_vendor, shift_times=shift_times
    )
    captures = _captures(source)
    run = Run("anonymise", options, captures or [source], reproducible=key is not None)
    if key_out:
        write_key(secret, key_out)
    try:
        _work(source, captures, output, worker, run, progress)
    except BaseException:
        if key_out:
            key_out.unlink(missing_ok=True)
        raise
    if payload is Payload.keep and source.suffix not in TABLES:
        run.warnings.append(_KEPT)
    if not (key or key_out):
        run.warnings.append(_NO_KEY)
    return run.done(output, _summary(run, output))


def _fits(source: Path, output: Path) -> None:
    """Raises OptionError when the output would replace the input, or has the name of something else."""
    if output.exists() and output.resolve() == source.resolve():
        raise OptionError(f"-o {output} is the input, which would be gone. Name another.")
    allowed = TABLES if source.suffix in TABLES else () if source.is_dir() else (PCAP,)
    if output.suffix in (*TABLES, PCAP, ".pcapng", ".gz") and output.suffix not in allowed:
        kind = f"a {' or '.join(allowed)} file, or a folder" if allowed else "a folder"
        raise OptionError(f"-o {output}: expected {kind} for {source}. Name such a one.")


def _work(
    source: Path, captures: Sequence[Path], output: Path, worker: Anonymiser, run: Run, progress: Say
) -> None:
    """Anonymise what the input is: a table, a folder of captures, or a capture."""
    if source.suffix in TABLES:
        _table(source, output, worker, run)
    elif source.is_dir():
        with folder(output, run) as hidden:
            parts = {path: hidden / name for path, name in _names(source, captures).items()}
            _written(parts, worker, run, progress)
    else:
        with one_file(output, run, name=f"{source.name.partition('.')[0]}{PCAP}", suffixes=(PCAP,)) as target:
            _written({source: target}, worker, run, progress)


def _captures(source: Path) -> list[Path]:
    """The captures of a folder; none when it is no folder."""
    from wirespeak.wire import capture_files

    return capture_files([source])[0] if source.is_dir() else []


def _names(source: Path, captures: Sequence[Path]) -> dict[Path, str]:
    """What each capture of a folder is called in the output, which has no folders in it."""
    flat = {path: "-".join(path.relative_to(source).parts) for path in captures}
    short = {path: name.partition(".")[0] or name for path, name in flat.items()}
    often = Counter(short.values())
    return {path: (short[path] if often[short[path]] == 1 else flat[path]) + PCAP for path in captures}


def _written(parts: Mapping[Path, Path], worker: Anonymiser, run: Run, progress: Say) -> None:
    """Anonymise captures, and say in `run` what was done. Raises InputError when anything remains."""
    from wirespeak.flow.anonymise import anonymise_capture

    done: list[Anonymised] = []

    def told(name: str) -> Progress:
        return lambda at, all: progress(f"anonymising {name}", at / max(all, 1))

    for path, target in parts.items():
        try:
            found = anonymise_capture(path, target, worker, progress=told(path.name))
        except InputError as error:
            target.unlink(missing_ok=True)
            if path is list(parts)[-1] and not done:
                raise
            run.warnings.append(f"left out: {error}")
            continue
        if worker.payload != "keep":
            _none_remains(path, found.remains)
        done.append(found)
        if found.cut:
            run.warnings.append(found.cut)
    run.count(
        taken=sum(found.packets for found in done),
        given=sum(found.written for found in done),
        set_aside=dict(sorted(_summed(found.set_aside for found in done).items())),
    )
    run.notes["replaced"] = _summed(found.replaced for found in done)
    run.notes["payload_bytes"] = _summed(found.payload for found in done)
    run.notes["blanked_packets"] = sum(found.blanked for found in done)
    run.notes["remains"] = _summed(found.remains for found in done)


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of several captures as one."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _none_remains(path: Path, remains: Mapping[str, int]) -> None:
    found = ", ".join(f"{count:,} {kind}" for kind, count in remains.items() if count)
    if found:
        raise InputError(
            f"{path}: {found} of the input were found in the output, so nothing was written. Try --payload cut, and report this."
        )


def _table(source: Path, output: Path, worker: Anonymiser, run: Run) -> None:
    """Anonymise a flow table."""
    from wirespeak.data import tables
    from wirespeak.flow.anonymised_flows import anonymise_flows

    with one_file(output, run, name=source.name, suffixes=TABLES) as target:
        flows = tables.read([source])
        mapped, remains = anonymise_flows(flows, worker)
        _none_remains(source, remains)
        tables.write(mapped, target)
        run.count(taken=flows.height, given=mapped.height)
        run.notes |= {"remains": remains}


def _summary(run: Run, output: Path) -> str:
    """What was replaced, what was left out, what remains."""
    notes: dict[str, Any] = run.notes
    aside = sum(run.counts["set_aside"].values())
    lines = [
        f"{run.counts['out']:,} of {run.counts['in']:,} anonymised"
        + (f", {aside:,} left out" if aside else "")
        + f": {output}"
    ]
    lines += [f"  left out  {count:>10,}  {reason}" for reason, count in run.counts["set_aside"].items()]
    lines += [f"  replaced  {count:>10,}  {kind}" for kind, count in notes.get("replaced", {}).items()]
    lines += [
        f"  payload   {count:>10,}  bytes, {kind}" for kind, count in notes.get("payload_bytes", {}).items()
    ]
    if blanked := notes.get("blanked_packets"):
        lines.append(f"  blanked   {blanked:>10,}  packets with a message that could not be scrubbed")
    found = ", ".join(f"{count:,} {kind}" for kind, count in notes["remains"].items() if count)
    return "\n".join([*lines, f"  remaining {found or 'none':>10}"])
