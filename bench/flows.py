"""How fast captures become flows, beside the tools that people use, and how that grows with the capture.

    python bench/flows.py -o bench/results/flows.json [--most PACKETS] [--nfstream PYTHON]

Every run is a process of its own; what counts is its CPU time (user and system) and its largest resident memory. Start-up is taken
out by the difference of two sizes. The peers write what they make of a capture: NetFlow fields alone (nfpcapd), flow records (argus,
Suricata without rules), statistics (nfstream), or one line a packet (tshark). `--nfstream` names a Python that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wirespeak.interfaces.measure import machine

PACKETS = 12  # of a flow
FLOWS, COPIES_SHARED, COPIES_BIG, COPIES_SMALL = 50_000, 12, 3, 1
READ = "import sys; from wirespeak.flow import FlowReader; print(sum(len(piece) for piece in FlowReader(sys.argv[1]).pieces()))"
SHARED = """
import subprocess, sys, time
from wirespeak.flow import FlowReader
def read(workers):
    return sum(len(piece) for piece in FlowReader(sys.argv[1], workers=workers).pieces())
if len(sys.argv) > 2:  # the other reader: reads each time it is asked to
    read(1)
    for _ in sys.stdin:
        print(read(1), flush=True)
    sys.exit()
script = sys.stdin.read()
other = subprocess.Popen([sys.executable, "-c", script, sys.argv[1], "other"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
def apart():
    other.stdin.write("read\\n")
    read(1)
    other.stdout.readline()
read(1)
apart()
for _ in range(ROUNDS):
    for who, how in (("1", lambda: read(1)), ("2", lambda: read(2)), ("apart", apart)):
        began = time.perf_counter()
        how()
        print(who, time.perf_counter() - began, flush=True)
other.stdin.close()
other.wait()
"""
ROUNDS = 11
SAME = """
import sys
from polars.testing import assert_frame_equal
from wirespeak.flow import read_flows
assert_frame_equal(read_flows(sys.argv[1], workers=2).flows, read_flows(sys.argv[1]).flows, check_exact=True)
"""
NFSTREAM = (
    "import sys; from nfstream import NFStreamer; "
    "print(sum(1 for _ in NFStreamer(source=sys.argv[1], statistical_analysis=True, n_meters=1)))"
)
GROWTH = ((834, 1), (8_334, 1), (50_000, 1), (50_000, 10), (50_000, 34))
"""Flows and copies: 10 thousand packets to 20 million."""


def made(target: str, flows: int, copies: int) -> list[str]:
    """The command that writes a capture. It is no part of this process: children inherit the peak of their parent's memory."""
    return [sys.executable, str(Path(__file__).with_name("made_capture.py")), target, str(flows), str(copies)]


def run(command: list[str], *, after: list[str] | None = None, folder: str = ".") -> dict[str, float]:
    """CPU seconds, wall seconds and MiB of one command, which reads what `after` writes. Raises SystemExit where it fails."""
    environment = os.environ | {
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with tempfile.TemporaryFile() as said:
        began = os.times().elapsed
        source = subprocess.Popen(after, stdout=subprocess.PIPE) if after else None
        process = subprocess.Popen(
            command, stdin=source.stdout if source else subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            cwd=folder, env=environment,
        )  # fmt: skip
        if source and source.stdout:
            source.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if source:
            source.wait()
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read().decode(errors='replace')[-500:]}")
    return {
        "cpu_s": used.ru_utime + used.ru_stime, "wall_s": os.times().elapsed - began, "peak_mib": used.ru_maxrss / 1024,
    }  # fmt: skip


def peers(nfstream: str | None) -> dict[str, Callable[[Path, str], list[str]]]:
    """The command of each tool that is here, for a capture and a folder to write in."""
    found: dict[str, Callable[[Path, str], list[str]]] = {
        "wirespeak": lambda path, _: [sys.executable, "-c", READ, str(path)],
        "nfpcapd": lambda path, folder: ["nfpcapd", "-r", str(path), "-w", folder],
        "argus": lambda path, folder: ["argus", "-r", str(path), "-w", f"{folder}/argus.out"],
        "suricata": lambda path, folder: [
            "suricata", "-r", str(path), "-l", folder, "-S", "/dev/null", "--runmode", "single", "-k", "none",
        ],
        "tshark": lambda path, _: ["tshark", "-r", str(path), "-T", "fields", "-e", "frame.len"],
    }  # fmt: skip
    here = {name: command for name, command in found.items() if name == "wirespeak" or shutil.which(name)}
    if nfstream:
        here["nfstream"] = lambda path, _: [nfstream, "-c", NFSTREAM, str(path)]
    return here


def rates(folder: Path, nfstream: str | None) -> list[dict[str, Any]]:
    """Packets a CPU second of every tool on one capture, start-up taken out; the middle of three rounds."""
    sizes = {copies: folder / f"{copies}.pcap" for copies in (COPIES_SMALL, COPIES_BIG)}
    for copies, path in sizes.items():
        subprocess.run(made(str(path), FLOWS, copies), check=True)
    more = FLOWS * PACKETS * (COPIES_BIG - COPIES_SMALL)
    found = []
    for name, command in peers(nfstream).items():
        rounds = []
        for _ in range(1 if name in ("tshark", "nfstream") else 3):
            used = {}
            for copies, path in sizes.items():
                with tempfile.TemporaryDirectory() as place:
                    used[copies] = run(command(path, place), folder=place)
            rounds.append((more / (used[COPIES_BIG]["cpu_s"] - used[COPIES_SMALL]["cpu_s"]), used))
        rate, used = sorted(rounds, key=lambda one: one[0])[len(rounds) // 2]
        found.append(
            {
                "tool": name,
                "packets_per_cpu_s": rate,
                "rounds": [one[0] for one in rounds],
                **used[COPIES_BIG],
            }
        )
        print(f"{name}: {rate:,.0f} packets/CPU s", file=sys.stderr, flush=True)
    for path in sizes.values():
        path.unlink()
    return found


def shared(folder: Path) -> dict[str, Any]:
    """Wall seconds on one capture, in turn: of one worker, of two, and of two processes of one worker each that read it at the same time,
    which tells what the machine's second core gives; and whether the tables are the same."""
    path = folder / "shared.pcap"
    subprocess.run(made(str(path), FLOWS, COPIES_SHARED), check=True)
    environment = os.environ | {
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    script = SHARED.replace("ROUNDS", str(ROUNDS))
    told = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        input=script, check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    path.unlink()
    seconds: dict[str, list[float]] = {"1": [], "2": [], "apart": []}
    for line in told.stdout.splitlines():
        who, wall = line.split()
        seconds[who].append(float(wall))
    subprocess.run(made(str(path), FLOWS, 1), check=True)
    subprocess.run([sys.executable, "-c", SAME, str(path)], check=True, env=environment)
    path.unlink()
    times = sorted(one / two for one, two in zip(seconds["1"], seconds["2"], strict=True))
    gained = sorted(2 * one / both for one, both in zip(seconds["1"], seconds["apart"], strict=True))
    print(
        f"two workers: {times[len(times) // 2]:.2f} times one; two processes: {gained[len(gained) // 2]:.2f} times one",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return {"packets": FLOWS * COPIES_SHARED * PACKETS, "wall_s": seconds, "same_table": True}


def compiling(folder: Path) -> dict[str, Any]:
    """CPU seconds of compiling the C, which happens once, when the package is installed."""
    compiler = os.environ.get("CC", "gcc")
    used = run(
        ["env", f"CC={compiler}", sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder)]
    )  # fmt: skip
    return {"compiler": Path(compiler.split()[0]).name, "cpu_s": used["cpu_s"]}


def growth(folder: Path, most: int) -> list[dict[str, Any]]:
    """What ever larger captures cost, from disk and, time-shifted, through standard input."""
    found = []
    for flows, copies in (*GROWTH, (50_000, 167)):
        packets = flows * copies * PACKETS
        if packets > most:
            continue
        if packets <= 21_000_000:
            path = folder / "grown.pcap"
            subprocess.run(made(str(path), flows, copies), check=True)
            used, way, size = run([sys.executable, "-c", READ, str(path)]), "disk", path.stat().st_size
            path.unlink()
        else:
            used = run([sys.executable, "-c", READ, "-"], after=made("-", flows, copies))
            way, size = "stdin", 0
        found.append({"packets": packets, "bytes": size, "from": way, **used})
        print(f"{packets:,} packets: {used}", file=sys.stderr, flush=True)
    return found


def draw(growth: list[dict[str, Any]], path: Path) -> None:
    """Cost of a packet, and of each more, and memory, by the size of the capture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    packets = [one["packets"] for one in growth]
    more = [
        (large["cpu_s"] - small["cpu_s"]) / (large["packets"] - small["packets"]) * 1e9
        for small, large in zip(growth, growth[1:], strict=False)
    ]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    whole = [one["cpu_s"] / one["packets"] * 1e9 for one in growth]
    left.plot(packets, whole, "o-", color="#9db7c9", label="start-up included")
    left.plot(packets[1:], more, "o-", color="#1f5f8b", label="each packet more than in the size before")
    left.set(xscale="log", yscale="log", xlabel="packets", ylabel="CPU ns a packet", title="Cost")
    left.legend(frameon=False, fontsize=8)
    right.plot(packets, [one["peak_mib"] for one in growth], "o-", color="#1f5f8b")
    right.set(xscale="log", xlabel="packets", ylabel="MiB", title="Largest resident memory", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("-o", "--output", type=Path, required=True)
    reader.add_argument(
        "--most", type=int, default=21_000_000, metavar="PACKETS", help="of the largest capture"
    )
    reader.add_argument("--picture", type=Path, default=Path("docs/images/flows.png"))
    reader.add_argument("--nfstream", metavar="PYTHON")
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "machine": machine(),
            "compiling": compiling(Path(folder)),
            "tools": rates(Path(folder), given.nfstream),
            "workers": shared(Path(folder)),
            "growth": growth(Path(folder), given.most),
        }
    draw(found["growth"], given.picture)
    given.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
