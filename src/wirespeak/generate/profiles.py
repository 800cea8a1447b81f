"""Whose traffic can be written: the lab's devices, and the attackers whose packets need no hostile words."""

from __future__ import annotations

from wirespeak.errors import unknown_name

DEVICES = (
    "bridge", "bulb", "camera", "console", "hub", "lock", "meter", "phone", "plc", "plug", "sensor", "speaker",
    "thermostat", "tv",
)  # fmt: skip

# Profile -> canonical label. Injections are missing on purpose: their harm is in the words of a request, and
# the script writes sizes.
ATTACKS = {
    "syn-flood": "flood.syn",
    "udp-flood": "flood.udp",
    "icmp-flood": "flood.icmp",
    "http-flood": "flood.http",
    "mqtt-flood": "flood.mqtt",
    "slow-http": "flood.slow",
    "port-scan": "recon.port_scan",
    "sweep": "recon.sweep",
    "arp-spoofing": "spoof.arp",
    "password-guessing": "brute_force",
}
PROFILES: dict[str, str] = {**dict.fromkeys(DEVICES, "normal"), **ATTACKS}
_ALSO = {
    "motion-sensor": "sensor", "door-lock": "lock", "power-meter": "meter", "voice-assistant": "speaker",
    "television": "tv", "ip-camera": "camera",
}  # fmt: skip


def profile_name(name: str) -> str:
    """The profile a person means: `smart-bulb` is `bulb`. Raises OptionError naming the nearest."""
    plain = name.lower().removeprefix("smart-")
    plain = _ALSO.get(plain, plain)
    if plain not in PROFILES:
        raise unknown_name("profile", plain, [*PROFILES, *_ALSO])
    return plain
