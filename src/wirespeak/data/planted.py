"""Flaws planted on purpose, to measure what the audit finds: clean datasets from a seed, and one flaw in each.

A base is a table of made-up traffic in which every column tells something of the label and none tells all. A
plant adds one flaw of a kind, to one column, at one strength, and says which findings count as having found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.data.audit import Finding
from wirespeak.data.dataset import INTEGER, POINT_ZERO, Dataset, Field, Granularity, Kind, Role

Random = np.random.Generator

_KINDS = {
    "normal": "normal", "syn flood": "flood.syn", "scan": "recon.port_scan", "guess": "brute_force",
    "injection": "web.sqli", "exfil": "malware.exfil",
}  # fmt: skip


@dataclass(frozen=True)
class Plant:
    """One planted flaw. column: where, "" for the whole table. expects: kinds of findings that count; any one will do."""

    kind: str
    column: str
    strength: float
    expects: tuple[str, ...]
    dataset: Dataset
    split: pl.Series | None = None

    @property
    def name(self) -> str:
        """What, where, how strongly, in which dataset."""
        return f"{self.kind} {self.column or 'rows'} {self.strength:g} {self.dataset.name}"

    def is_found(self, findings: Sequence[Finding]) -> bool:
        """Whether a finding names the flaw and its column. What only a look can excuse must be more than info."""
        return any(
            finding.kind in self.expects
            and (not self.column or self.column in finding.columns)
            and (finding.severity != "info" or finding.kind.startswith("columns."))
            for finding in findings
        )


def alarms(findings: Sequence[Finding]) -> list[Finding]:
    """What the audit holds against a dataset: everything that is more than good to know."""
    return [finding for finding in findings if finding.severity != "info"]


def base(seed: int, *, rows: int = 4000, granularity: Granularity = "flow") -> Dataset:
    """A clean dataset: shuffled, without copies, its addresses and ports the same for all labels."""
    rng = np.random.default_rng(seed)
    labels = np.array(["normal", *rng.permutation(list(_KINDS)[1:])[: rng.integers(3, 6)]])
    share = np.r_[0.45, rng.dirichlet(np.full(len(labels) - 1, 8.0)) * 0.55]
    kind = rng.choice(len(labels), rows, p=share)
    columns: dict[str, NDArray[np.generic]] = {}
    fields: dict[str, Field] = {}

    def add(
        name: str, values: NDArray[np.generic], what: Kind = "number", role: Role = "feature", unit: str = ""
    ) -> None:
        columns[name], fields[name] = values, Field(name, what, role, unit)

    hosts = np.array([f"10.{rng.integers(0, 9)}.{a}.{b}" for a, b in rng.integers(1, 250, (60, 2))])
    add("src_ip", rng.choice(hosts, rows), "category", "address")
    add("dst_ip", rng.choice(hosts, rows), "category", "address")
    add("src_port", rng.integers(1024, 65536, rows), role="port")
    add("dst_port", rng.choice([22, 53, 80, 443, 1883, 8080], rows), role="port")
    size = rng.normal(0, 0.8, len(labels))[kind] + rng.normal(0, 1, rows)
    for side in ("fwd", "bwd"):
        packets = 1 + np.floor(
            np.exp(1.5 + size + rng.normal(0, 0.6, rows) + rng.normal(0, 0.5, len(labels))[kind])
        )
        add(f"{side}_packets", packets.astype(np.int64), unit="packets")
        per = 40 + 400 * rng.gamma(2, 0.5, rows) * np.exp(rng.normal(0, 0.4, len(labels)))[kind]
        add(f"{side}_bytes", (packets * per).astype(np.int64), unit="bytes")
        add(
            f"{side}_iat_mean",
            np.round(rng.gamma(1.5, 0.2, rows) * np.exp(rng.normal(0, 0.5, len(labels)))[kind], 6),
            unit="s",
        )
    add("duration", np.round(np.exp(size + rng.normal(0, 1.2, rows)), 6), unit="s")
    add("error_rate", np.round(rng.beta(1 + rng.gamma(1, 1, len(labels))[kind], 3), 2))
    add("same_service_rate", np.round(rng.beta(2, 1 + rng.gamma(1, 1, len(labels))[kind]), 2))
    add("count_2s", rng.poisson(3 + 6 * rng.random(len(labels))[kind] + rng.gamma(1, 4, rows)))
    for name, words in (("proto", ["tcp", "udp", "icmp"]), ("service", ["http", "dns", "mqtt", "ssh", "-"]), ("state", ["SF", "S0", "REJ", "RSTO"])):  # fmt: skip
        odds = rng.dirichlet(np.full(len(words), 2.0), len(labels)).cumsum(axis=1)
        odds[:, -1] = 1.0
        add(name, np.array(words)[(rng.random((rows, 1)) > odds[kind]).sum(axis=1)], "category")
    add(
        "host",
        np.array(["a.example", "b.example", "broker.local", "-"])[rng.integers(0, 4, rows)],
        "text",
        "text",
    )
    add("label", labels[kind], "category", "label")
    table = pl.DataFrame({name: pl.Series(name, values) for name, values in columns.items()})
    names = table["label"].alias("name")
    return Dataset(
        name=f"made-{seed}", title=f"made-up traffic {seed}", granularity=granularity, fields=fields, table=table,
        names=names, labels=names.alias("label"), canonical=names.replace_strict(_KINDS).alias("canonical"),
    )  # fmt: skip


def plants(bases: Sequence[Dataset], *, seed: int) -> Iterator[Plant]:
    """Every kind of flaw at every strength, each in one of the bases in turn."""
    rng = np.random.default_rng(seed)
    number = 0
    for plant, strengths in PLANTS:
        for strength in strengths:
            yield plant(bases[number % len(bases)], strength, rng)
            number += 1


def _hostile(dataset: Dataset) -> NDArray[np.bool_]:
    return (dataset.canonical != "normal").to_numpy()


def _noisy(values: NDArray[np.int64], strength: float, rng: Random) -> NDArray[np.int64]:
    """Numbers from 0, all but a share of `strength` drawn anew."""
    return np.where(
        rng.random(len(values)) < strength, values, rng.integers(0, int(values.max()) + 1, len(values))
    )


def _codes(dataset: Dataset) -> NDArray[np.int64]:
    return dataset.names.rank("dense").to_numpy().astype(np.int64) - 1


def _with(
    dataset: Dataset,
    name: str,
    values: NDArray[np.generic] | pl.Series,
    kind: Kind = "number",
    role: Role = "feature",
) -> Dataset:
    """The dataset with a column added, or replaced."""
    table = dataset.table.with_columns(pl.Series(name, values))
    field = replace(dataset.fields[name], kind=kind) if name in dataset.fields else Field(name, kind, role)
    return replace(dataset, table=table, fields=dataset.fields | {name: field})


def _column(dataset: Dataset, rng: Random, *, whole: bool | None = None) -> str:
    """A number column with many values; whole numbers, fractions, or either."""
    names = [
        name
        for name in dataset.features()
        if dataset.table[name].dtype.is_numeric()
        and dataset.table[name].n_unique() > 60
        and (whole is None or dataset.table[name].dtype.is_integer() == whole)
    ]
    return str(rng.choice(names)) if names else _column(dataset, rng)


def _split(dataset: Dataset, rng: Random) -> pl.Series:
    return pl.Series(np.where(rng.random(len(dataset)) < 0.3, "test", "train"))


def label_code(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """The label as a number."""
    values = rng.permutation(40)[_noisy(_codes(dataset), strength, rng)]
    return Plant(
        "label code", "traffic", strength, ("leak.label", "leak.alone"), _with(dataset, "traffic", values)
    )


def label_word(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """The label in other words, ordinary against hostile."""
    words = np.array(["ok", "alert"])[_noisy(_hostile(dataset).astype(np.int64), strength, rng)]
    return Plant("label word", "verdict", strength, ("leak.label", "leak.alone"), _with(dataset, "verdict", words, "category"))  # fmt: skip


def label_partly(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """The label in a share of the rows, nothing in the others."""
    values = np.where(rng.random(len(dataset)) < strength, _codes(dataset) + 1, 0)
    return Plant(
        "label in some rows", "grade", strength, ("leak.label", "leak.alone"), _with(dataset, "grade", values)
    )


def label_in_text(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """A text that differs in every row, with a word that gives the label away."""
    words = np.array(["req", "mal"])[_noisy(_hostile(dataset).astype(np.int64), strength, rng)]
    texts = np.array(
        [f"/{word}/{number}" for word, number in zip(words, rng.permutation(len(words)), strict=True)]
    )
    return Plant("label in text", "uri", strength, ("leak.alone", "leak.label"), _with(dataset, "uri", texts, "text", "text"))  # fmt: skip


def predictor(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """A measurement that all but gives the label away."""
    gap = {1.0: 12.0, 0.98: 5.0, 0.95: 4.2}[strength]
    values = np.round(rng.normal(20, 1, len(dataset)) + gap * _hostile(dataset), 4)
    return Plant(
        "predictor", "score", strength, ("leak.alone", "leak.label"), _with(dataset, "score", values)
    )


def number_format(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """`0` for ordinary rows, `0.0` for hostile ones, in a number column."""
    values = np.where(rng.random(len(dataset)) < 0.8, 0, rng.integers(1, 9, len(dataset))).astype(np.float64)
    form = np.where(_noisy(_hostile(dataset).astype(np.int64), strength, rng) == 1, POINT_ZERO, INTEGER)
    made = _with(dataset, "name_length", values)
    kept = dataset.formats.with_columns() if dataset.formats.width else pl.DataFrame()
    formats = kept.with_columns(pl.Series("name_length", form, pl.Int8)) if kept.width else pl.DataFrame({"name_length": pl.Series(form, dtype=pl.Int8)})  # fmt: skip
    return Plant("number format", "name_length", strength, ("leak.format",), replace(made, formats=formats))


def text_format(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """`0` against `0.0` in a column of text."""
    words = rng.choice(["0", "broker/a", "broker/b"], len(dataset), p=[0.8, 0.1, 0.1])
    marked = _noisy(_hostile(dataset).astype(np.int64), strength, rng) == 1
    words = np.where((words == "0") & marked, "0.0", words)
    return Plant(
        "text format", "topic", strength, ("leak.format",), _with(dataset, "topic", words, "text", "text")
    )


def letter_case(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Words in capitals for hostile rows."""
    words = rng.choice(["get", "post", "put"], len(dataset))
    marked = _noisy(_hostile(dataset).astype(np.int64), strength, rng) == 1
    words = np.where(marked, np.char.upper(words), words)
    return Plant("letter case", "method", strength, ("leak.format", "leak.alone"), _with(dataset, "method", words, "category"))  # fmt: skip


def rounding(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Hostile rows rounded to fewer decimals."""
    values = np.round(rng.gamma(2, 3, len(dataset)) + 1e-6, 6)
    marked = _noisy(_hostile(dataset).astype(np.int64), strength, rng) == 1
    return Plant("rounding", "jitter", strength, ("leak.precision", "leak.alone"), _with(dataset, "jitter", np.where(marked, np.round(values, 2), values)))  # fmt: skip


def clock(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Seconds since 1970; each label was recorded on a day of its own, the more so the stronger."""
    day = _noisy(_codes(dataset), strength, rng)
    values = np.round(1.6e9 + 86_400 * day + rng.uniform(0, 80_000, len(dataset)), 3)
    return Plant("clock", "seen", strength, ("leak.clock",), _with(dataset, "seen", values))


def sessions(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Seconds since the start, from many recordings of one label each, in turn."""
    start = np.cumsum(rng.uniform(50, 90, max(20, len(dataset) // 20)))
    owner = rng.choice(_codes(dataset), len(start))
    code = _noisy(_codes(dataset), strength, rng)
    chosen = np.array(
        [rng.choice(np.flatnonzero(owner == label)) if (owner == label).any() else 0 for label in code]
    )
    values = np.round(start[chosen] + rng.uniform(0, 40, len(dataset)), 3)
    return Plant(
        "sessions", "offset", strength, ("leak.clock", "leak.alone"), _with(dataset, "offset", values)
    )


def written_time(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """The same as text."""
    day = _noisy(_codes(dataset), strength, rng) + 1
    second = rng.integers(0, 3600, len(dataset))
    words = np.array(
        [f"2021-03-{d:02d} 14:{s // 60:02d}:{s % 60:02d}" for d, s in zip(day, second, strict=True)]
    )
    return Plant("written time", "when", strength, ("leak.clock",), _with(dataset, "when", words, "category"))


def row_number(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Rows sorted by label, and a row number that says so; weaker: rows of a label spread wider."""
    order = np.argsort(_codes(dataset) + rng.normal(0, (1 - strength) * 2, len(dataset)), kind="stable")
    made = dataset.take(order)
    return Plant(
        "row number", "no", strength, ("leak.order", "leak.id"), _with(made, "no", np.arange(len(made)) + 7)
    )


def sorted_file(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Rows sorted by label."""
    order = np.argsort(_codes(dataset) + rng.normal(0, (1 - strength) * 2, len(dataset)), kind="stable")
    return Plant("sorted file", "", strength, ("order.file",), dataset.take(order))


def tcp_timestamp(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Options in hex whose timestamp counts from when the recording began; a share of rows has one."""
    stamp = 1_000_000 + 50_000_000 * _codes(dataset) + rng.integers(0, 3_000_000, len(dataset))
    has = rng.random(len(dataset)) < strength
    words = np.array(
        [f"0101080a{s:08x}{s + 99:08x}" if h else "020405b4" for s, h in zip(stamp, has, strict=True)]
    )
    return Plant("TCP timestamp", "options", strength, ("leak.tcp_timestamp",), _with(dataset, "options", words, "text", "text"))  # fmt: skip


def address(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Each label has hosts of its own."""
    host = 10 * _noisy(_codes(dataset), strength, rng) + rng.integers(1, 6, len(dataset))
    words = np.array([f"192.168.1.{h}" for h in host])
    return Plant(
        "address", "origin", strength, ("leak.address",), _with(dataset, "origin", words, "category")
    )


def mac(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Each label has network cards of its own."""
    card = 10 * _noisy(_codes(dataset), strength, rng) + rng.integers(1, 6, len(dataset))
    words = np.array([f"02:00:5e:00:00:{c:02x}" for c in card])
    return Plant("MAC", "sender", strength, ("leak.mac",), _with(dataset, "sender", words, "category", "mac"))


def source_port(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Attack tools that count their source ports in ranges of their own."""
    tool = _noisy(_codes(dataset), strength, rng)
    return Plant("port", "sport", strength, ("leak.port",), _with(dataset, "sport", 33_000 + 4000 * tool + rng.integers(0, 3000, len(dataset)), role="port"))  # fmt: skip


def time_to_live(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Attackers one hop further away."""
    value = np.array([62, 254])[_noisy(_hostile(dataset).astype(np.int64), strength, rng)] - rng.integers(0, 2, len(dataset))  # fmt: skip
    return Plant(
        "TTL", "sttl", strength, ("leak.ttl", "leak.alone", "leak.label"), _with(dataset, "sttl", value)
    )


def torn_flows(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Packets of one recording on both sides of the split."""
    group = pl.Series("group", np.arange(len(dataset)) // 8)
    whole = np.random.default_rng(int(rng.integers(1 << 30))).random(int(group.max()) + 1)[group.to_numpy()] < 0.3  # type: ignore[arg-type]  # fmt: skip
    loose = rng.random(len(dataset)) < strength
    side = np.where(np.where(loose, rng.random(len(dataset)) < 0.3, whole), "test", "train")
    return Plant(
        "torn flows", "", strength, ("split.flows",), replace(dataset, groups=group), pl.Series(side)
    )


def torn_streams(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """The same, with the flow's number in a column."""
    plant = torn_flows(dataset, strength, rng)
    made = _with(dataset, "stream_id", np.random.default_rng(1).permutation(len(dataset))[plant.dataset.groups.to_numpy()], role="id")  # type: ignore[union-attr]  # fmt: skip
    return Plant("torn streams", "stream_id", strength, ("split.flows",), made, plant.split)


def _appended(
    dataset: Dataset, share: float, rng: Random
) -> tuple[Dataset, NDArray[np.int64], NDArray[np.int64]]:
    """The dataset with rows copied to its end: it, which were copied, and where the copies stand."""
    chosen = rng.choice(len(dataset), int(share * len(dataset)), replace=False)
    made = dataset.take(np.r_[np.arange(len(dataset)), chosen])
    return made, chosen, np.arange(len(dataset), len(made))


def copied_rows(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Rows that occur twice."""
    made, _, _ = _appended(dataset, strength, rng)
    return Plant("copied rows", "", strength, ("duplicates.exact",), made.take(rng.permutation(len(made))))


def copied_behaviour(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Rows that occur twice but for a number of their own."""
    made, _, _ = _appended(dataset, strength, rng)
    made = _with(made, "uid", rng.permutation(len(made)), role="id")
    return Plant(
        "copied behaviour", "", strength, ("duplicates.features",), made.take(rng.permutation(len(made)))
    )


def copies_over_the_split(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Test rows that training has too."""
    made, _, new = _appended(dataset, strength, rng)
    side = np.full(len(made), "train")
    side[new] = "test"
    side[rng.random(len(made)) < 0.2] = "test"
    return Plant(
        "copies over the split", "", strength, ("split.rows", "split.duplicates"), made, pl.Series(side)
    )


def conflicting_labels(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Rows that occur again under another label."""
    made, chosen, new = _appended(dataset, strength, rng)
    other = made.names.to_numpy().copy()
    pool = dataset.names.unique().sort().to_list()
    other[new] = [pool[(pool.index(dataset.names[int(row)]) + 1) % len(pool)] for row in chosen]
    kinds = dict(zip(dataset.names, zip(dataset.labels, dataset.canonical, strict=True), strict=True))
    names = pl.Series("name", other)
    made = replace(
        made, names=names, labels=pl.Series("label", [kinds[name][0] for name in other]),
        canonical=pl.Series("canonical", [kinds[name][1] for name in other]),
    )  # fmt: skip
    return Plant(
        "conflicting labels", "", strength, ("labels.conflict",), made.take(rng.permutation(len(made)))
    )


def moved_percent(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Test rows made from training rows: every number times 0.95 to 1.05."""
    made, _, new = _appended(dataset, strength, rng)
    columns = {}
    for name in dataset.features():
        if made.table[name].dtype.is_numeric():
            values = made.table[name].cast(pl.Float64).to_numpy().copy()
            values[new] *= rng.uniform(0.95, 1.05, len(new))
            columns[name] = pl.Series(name, values)
    side = np.where(rng.random(len(made)) < 0.2, "test", "train")
    side[new] = np.where(rng.random(len(new)) < 0.8, "test", "train")
    made = replace(made, table=made.table.with_columns(columns.values()))
    return Plant("moved by percent", "", strength, ("split.twins",), made, pl.Series(side))


def moved_deviations(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """A dataset in z-scores; rows made from others by adding a twentieth of a deviation of noise."""
    made, _, new = _appended(_standardised(dataset), strength, rng)
    columns = {}
    for name in dataset.features():
        if made.table[name].dtype.is_numeric():
            values = made.table[name].to_numpy().copy()
            values[new] += rng.normal(0, 0.05, len(new))
            columns[name] = pl.Series(name, values)
    made = replace(made, table=made.table.with_columns(columns.values()))
    side = np.where(rng.random(len(made)) < 0.2, "test", "train")
    side[new] = np.where(rng.random(len(new)) < 0.8, "test", "train")
    return Plant("moved by deviations", "", strength, ("split.twins",), made, pl.Series(side))


def _standardised(dataset: Dataset) -> Dataset:
    columns = {}
    for name in dataset.features():
        if dataset.table[name].dtype.is_numeric():
            values = dataset.table[name].cast(pl.Float64).to_numpy()
            columns[name] = pl.Series(name, np.round((values - values.mean()) / max(values.std(), 1e-9), 6))
    return replace(dataset, table=dataset.table.with_columns(columns.values()))


def standard_scores(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """Counts and bytes that are z-scores."""
    return Plant("z-scores", "", strength, ("units.z_scores",), _standardised(dataset))


def constant(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """A column with one value, or next to one."""
    values = (rng.random(len(dataset)) > strength).astype(np.int64)
    return Plant("constant", "outbound", strength, ("columns.constant", "columns.dead"), _with(dataset, "outbound", values))  # fmt: skip


def imbalance(dataset: Dataset, strength: float, rng: Random) -> Plant:
    """A label with few rows."""
    rare = dataset.names != dataset.names.unique().sort()[0]
    keep = rare.to_numpy() | (rng.random(len(dataset)) > strength)
    keep[np.flatnonzero(~rare.to_numpy())[:3]] = True
    return Plant("imbalance", "", strength, ("labels.imbalance",), dataset.take(np.flatnonzero(keep)))


PLANTS: tuple[tuple[Callable[[Dataset, float, Random], Plant], tuple[float, ...]], ...] = (
    (label_code, (1.0, 0.97, 0.9)),
    (label_word, (1.0, 0.97, 0.93)),
    (label_partly, (0.6, 0.3)),
    (label_in_text, (1.0, 0.96)),
    (predictor, (1.0, 0.98, 0.95)),
    (number_format, (1.0, 0.9, 0.8)),
    (text_format, (1.0, 0.9, 0.8)),
    (letter_case, (1.0, 0.8)),
    (rounding, (1.0, 0.9)),
    (clock, (1.0, 0.7, 0.0)),
    (sessions, (1.0, 0.98)),
    (written_time, (1.0, 0.5)),
    (row_number, (1.0, 0.8)),
    (sorted_file, (1.0, 0.8)),
    (tcp_timestamp, (1.0, 0.5, 0.1)),
    (address, (1.0, 0.7, 0.3)),
    (mac, (1.0, 0.7, 0.3)),
    (source_port, (1.0, 0.6)),
    (time_to_live, (1.0, 0.9, 0.6)),
    (torn_flows, (1.0, 0.2)),
    (torn_streams, (1.0, 0.2)),
    (copied_rows, (0.5, 0.03)),
    (copied_behaviour, (0.5, 0.03)),
    (copies_over_the_split, (0.5, 0.03)),
    (conflicting_labels, (0.2, 0.02)),
    (moved_percent, (1.0, 0.3)),
    (moved_deviations, (1.0, 0.3)),
    (standard_scores, (1.0,)),
    (constant, (1.0, 0.9997)),
    (imbalance, (0.99, 0.95)),
)
"""Each kind of flaw with its strengths."""
