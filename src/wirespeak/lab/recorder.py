"""Record a scenario: start the lab in namespaces of its own, take what it hands over, name it when it is whole."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from wirespeak.errors import MissingPart, OutputError, WirespeakError, missing_extra
from wirespeak.lab.attacks.tools import TOOLS
from wirespeak.lab.scenario import Scenario, read_scenario

Progress = Callable[[float, str], None]

# Command -> Debian package, for what every recording needs.
_ALWAYS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "openssl": "openssl",
    "mosquitto": "mosquitto",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
    "dropbear": "dropbear-bin",
}
_COMMANDS = {
    "apache2-utils": "ab",
    "dsniff": "arpspoof",
    "mosquitto-clients": "mosquitto_pub",
    "dropbear-bin": "dbclient",
    "ettercap-text-only": "ettercap",
    "iputils-ping": "ping",
    "netcat-openbsd": "nc",
    "nghttp2-client": "h2load",
    "netsniff-ng": "mausezahn",
    "putty-tools": "plink",
    "python3-scapy": "scapy3",
    "sipvicious": "svmap",
}
_EXTRAS = ("aiocoap", "pymodbus")


@dataclass(frozen=True)
class Recording:
    """A finished recording. packets and dropped as tcpdump counted them; seconds of wall time."""

    path: Path
    split: str
    packets: int
    dropped: int
    bytes: int
    seed: int
    hosts: int
    seconds: float
    attacks: tuple[dict[str, Any], ...] = field(default=())


def record(
    scenario: Path, output: Path, *, seed: int | None = None, progress: Progress = lambda share, doing: None
) -> Recording:
    """Record a scenario into the folder `output`: capture.pcap, truth.csv, hosts.csv, scenario.toml, run.json.

    seed replaces the scenario's own. progress is called about once a second with the share done (0 to 1) and
    what goes on. Everything is checked before anything is made. Raises OptionError or InputError for a
    scenario that does not fit, MissingPart for a tool or a right that is missing, OutputError for a folder that
    is taken or cannot be written, WirespeakError when the lab fails; none of them leaves anything behind.
    """
    declared = read_scenario(scenario)
    declared = declared if seed is None else replace(declared, seed=seed)
    check_machine(declared)
    hidden = _reserve(output)
    start = time.monotonic()
    try:
        result = _run_lab(scenario, seed, hidden, progress)
        recording = Recording(
            output,
            declared.split,
            seconds=round(time.monotonic() - start, 1),
            **{**result, "attacks": tuple(result["attacks"])},
        )
        (hidden / "run.json").write_text(json.dumps(_run_card(declared, recording), indent=1) + "\n")
        _publish(hidden, output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write this recording: {error.strerror}. Free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return recording


def check_machine(scenario: Scenario) -> None:
    """Raise MissingPart unless this machine can record the scenario: Linux, root, the tools, the Python extras."""
    if sys.platform != "linux" or not hasattr(os, "geteuid"):
        raise MissingPart(
            "the lab needs Linux with network namespaces. Run it in a Linux machine or a privileged container."
        )
    packages = {TOOLS[attack.tool].package for attack in scenario.attacks} - {""}
    needed = _ALWAYS | {_COMMANDS.get(package, package): package for package in packages}
    missing = sorted(
        {
            package
            for command, package in needed.items()
            if not shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        }
    )
    if missing:
        raise MissingPart(
            f"this scenario needs Debian packages that are not installed: {', '.join(missing)}. Run: apt-get install {' '.join(missing)}"
        )
    for extra in _EXTRAS:
        if importlib.util.find_spec(extra) is None:
            raise missing_extra(extra, "lab")
    if os.geteuid() != 0:
        raise MissingPart(
            "the lab makes network namespaces, which needs root. Run the same command with sudo."
        )


def _reserve(output: Path) -> Path:
    """A hidden folder beside `output`; what killed recorders left there is removed."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(
            f"{output} already exists and is not an empty folder. Choose another name or remove it."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for left in output.parent.glob(f".{output.name}.recording-*"):
            if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
                shutil.rmtree(left, ignore_errors=True)
        hidden = output.parent / f".{output.name}.recording-{os.getpid()}"
        hidden.mkdir()
    except OSError as error:
        raise OutputError(
            f"{output.parent}: cannot write there: {error.strerror}. Choose another folder."
        ) from error
    hidden.rmdir()  # only a test that it can be made: nothing lies there while the lab runs
    return hidden


def _run_lab(scenario: Path, seed: int | None, hidden: Path, progress: Progress) -> dict[str, Any]:
    """Start the lab, listen to it, unpack what it hands over. Ends it, whatever happens."""
    command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        sys.executable,
        "-m",
        "wirespeak.lab.stage",
        str(scenario.resolve()),
        "" if seed is None else str(seed),
    ]
    environment = {
        **os.environ,
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    lab = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert lab.stdout is not None and lab.stdin is not None and lab.stderr is not None
    try:
        for line in lab.stdout:
            message = json.loads(line)
            if "error" in message:
                raise WirespeakError(message["error"])
            if "recorded" in message:
                with contextlib.suppress(tarfile.TarError):
                    _unpack(lab.stdout, hidden)
                    return dict(message["recorded"])
                break
            progress(message["progress"], message["doing"])
        said = lab.stderr.read().decode(errors="replace").strip()[-600:] or "it said nothing"
        if said.startswith("unshare:"):
            raise MissingPart(
                f"this machine does not let the lab make namespaces ({said}). Run it outside a restricted container."
            )
        raise WirespeakError(f"the lab ended before its recording was whole: {said}")
    finally:
        lab.kill()  # --kill-child: the lab's process 1 goes with it, and with that every process and namespace
        lab.stdin.close()
        lab.wait()
        lab.stdout.close()
        lab.stderr.close()


def _unpack(stream: IO[bytes], folder: Path) -> None:
    """The files of the recording, by their plain names."""
    folder.mkdir()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            with (folder / Path(entry.name).name).open("wb") as target:
                shutil.copyfileobj(content, target, 1 << 20)


def _run_card(scenario: Scenario, recording: Recording) -> dict[str, Any]:
    packages = sorted(
        set(_ALWAYS.values()) | {TOOLS[attack.tool].package for attack in scenario.attacks} - {""}
    )
    listed = (
        subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages], capture_output=True, text=True
        )
        if shutil.which("dpkg-query")
        else None
    )
    versions = dict(line.split(" ", 1) for line in listed.stdout.splitlines()) if listed else {}
    counts = {
        "out": recording.packets,
        "dropped": recording.dropped,
        "bytes": recording.bytes,
        "hosts": recording.hosts,
    }
    return {
        "verb": "lab record", "scenario": scenario.name, "split": scenario.split, "seed": recording.seed, "counts": counts, "seconds": recording.seconds,
        "reproducible": False, "attacks": list(recording.attacks), "tools": versions,
    }  # fmt: skip


def _publish(hidden: Path, output: Path) -> None:
    """Make the folder durable, then give it its name."""
    for path in hidden.iterdir():
        with path.open("rb") as opened:
            os.fsync(opened.fileno())
    hidden.chmod(0o755)
    if output.exists():
        output.rmdir()
    os.replace(hidden, output)
    descriptor = os.open(output.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
