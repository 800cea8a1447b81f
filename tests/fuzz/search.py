"""Search for bytes that break a reader, guided by what they reach in C and Python (atheris, libFuzzer).

`search.py --minutes 60` builds the native part with the address and undefined-behaviour sanitizers and with counters of what is
reached, feeds every target its share of the time, keeps what reached something new in `out/fuzz`, and writes what was done to
`out/fuzz/found.json`. It exits 1 when something was found; the bytes are then in `out/fuzz/found-TARGET-*`. `--keep` puts some of
what was reached into the small corpus beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
SHARES = {
    "captures": 22, "packets": 30, "flows": 6, "packed": 4, "flow_tables": 4, "datasets": 2, "truths": 2, "logs": 15, "anonymised": 15,
}  # fmt: skip
"""Of a hundred minutes. The parsers of packets are where most of what strangers send goes."""
LARGEST = {"packed": 4096, "truths": 2048, "logs": 4096, "packets": 4096}
KEPT_BYTES, LARGEST_KEPT = {"packets": 24_000, "captures": 24_000}, 512


def build(folder: Path) -> Path:
    """The native part with sanitizers and counters, from its sources."""
    native = Path(__file__).parents[2] / "src" / "wirespeak" / "_native"
    library = folder / "library.so"
    flags = "-std=c11 -O1 -g -fPIC -shared -fvisibility=hidden -fno-strict-aliasing -fno-omit-frame-pointer"
    checks = "-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"
    subprocess.run(
        [os.environ.get("CLANG", "clang"), *flags.split(), *checks.split(), *sorted(native.glob("*.c")), "-lm", "-o", library], check=True,
    )  # fmt: skip
    return library


def search(name: str, folder: Path, library: Path, seconds: int) -> dict[str, object]:
    """Feed one target; what was reached and found."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("w") as file:
        ended = subprocess.run(
            [
                *_command(name, library), corpus, *_kept(name),
                f"-max_total_time={seconds}", f"-max_len={LARGEST.get(name, 8192)}", f"-artifact_prefix={folder}/found-{name}-",
                "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1", "-use_value_profile=1", "-len_control=20",
            ],
            env=_surroundings(), stdout=file, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    text = log.read_text(errors="replace")
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text) or [("0", "0", "0")]
    executions = re.search(r"number_of_executed_units:\s*(\d+)", text)
    return {
        "seconds": seconds,
        "executions": int(executions.group(1)) if executions else 0,
        "edges": int(reached[-1][0]),
        "inputs": int(reached[-1][2]),
        "clean": ended.returncode == 0,
    }


def keep(name: str, folder: Path) -> None:
    """Put some of the inputs that reached something new beside this file: of every size up to `LARGEST_KEPT`, as many as there is room for."""
    kept = HERE / "corpus" / name
    reached = [(path.stat().st_size, path) for path in (folder / name).iterdir()]
    small = sorted(each for each in reached if each[0] <= LARGEST_KEPT)
    step = max(1, -(-sum(size for size, _ in small) // KEPT_BYTES.get(name, 6_000)))
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.iterdir():
        old.unlink()
    for _, path in small[::step]:
        shutil.copy(path, kept / path.name[:12])


def _command(name: str, library: Path) -> list[str | Path]:
    return [sys.executable, Path(__file__), "--feed", name, "--library", library]


def _kept(name: str) -> list[Path]:
    folder = HERE / "corpus" / name
    return [folder] if folder.is_dir() else []


def _surroundings() -> dict[str, str]:
    runtime = Path(sysconfig.get_path("platlib")) / "asan_with_fuzzer.so"
    return {
        **os.environ,
        "LD_PRELOAD": str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "POLARS_MAX_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def feed(name: str, library: Path, arguments: list[str]) -> None:
    """Be the process that libFuzzer drives."""
    import atheris

    with atheris.instrument_imports(include=["wirespeak"]):
        from fuzz.targets import TARGETS
        from fuzz.targets import feed as one
        from wirespeak import _native
    _native.LIBRARY = library
    _native.library()  # its counters must be there when the search begins
    atheris.Setup([sys.argv[0], *arguments], lambda data: one(TARGETS[name], data) and None)
    atheris.Fuzz()


def main() -> None:
    """Search, or be fed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--targets", nargs="*", default=list(SHARES))
    parser.add_argument("-o", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--feed")
    parser.add_argument("--library", type=Path)
    options, rest = parser.parse_known_args()
    sys.path.insert(0, str(HERE.parent))
    if options.feed:
        return feed(options.feed, options.library, rest)
    from fuzz.seeds import write_seeds

    options.o.mkdir(parents=True, exist_ok=True)
    library = build(options.o)
    found: dict[str, dict[str, object]] = {}
    for name in options.targets:
        write_seeds(name, options.o / name)
        share = SHARES[name] / sum(SHARES[each] for each in options.targets)
        found[name] = search(name, options.o, library, round(options.minutes * 60 * share))
        (options.o / "found.json").write_text(json.dumps(found, indent=2) + "\n")
        if options.keep:
            keep(name, options.o)
    sys.exit(not all(each["clean"] for each in found.values()))


if __name__ == "__main__":
    main()
