"""Public datasets are recognised by their columns, read as written, and set aside what does not fit."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wirespeak.data import catalogue, dataset
from wirespeak.data.sources import SOURCES, read_dataset
from wirespeak.data.sources.published import compare
from wirespeak.data.sources.source import Download, Source
from wirespeak.errors import InputError, OptionError
from wirespeak.lab.labelled import read_recording
from wirespeak.schema import LABELS

ROWS = 6


def real(path: str) -> Path:
    folder = os.environ.get("WIRESPEAK_DATA")
    if not folder:
        pytest.skip("WIRESPEAK_DATA does not name a folder of real datasets")
    return Path(folder) / path


def cell(source: Source, name: str, row: int) -> str:
    """What a made row holds in a column: the labels in turn, else something of the column's kind."""
    answer = source.answers[0]
    described = source.field_of(name)
    assert described is not None
    if name == answer.column:
        written = {label: code for code, label in answer.codes.items()}
        label = list(answer.canonical)[row % len(answer.canonical)]
        return written.get(label, label)
    if source.shifted and name == source.shifted.column:
        return " 2021 22:49:20.400794000 "
    return str(row + 1) if described.kind == "number" else f"word{row % 3}"


def made(source: Source, *, rows: int = ROWS) -> list[list[str]]:
    names = [field.name for field in source.fields]
    return [names] + [[cell(source, name, row) for name in names] for row in range(rows)]


def write(path: Path, lines: list[list[str]]) -> Path:
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
class TestEverySource:
    def test_is_recognised_by_its_columns_and_read(self, source: Source, tmp_path: Path) -> None:
        lines = made(source)
        if source.headerless:
            lines = [list(line[: len(source.headerless[0])]) for line in lines[1:]]
        read = read_dataset([write(tmp_path / "anything.csv", lines)])
        assert read.name == source.name
        assert len(read) == ROWS
        assert list(read.fields) == read.table.columns
        assert read.canonical.to_list() == list(source.answers[0].canonical.values())[:ROWS]
        assert read.table.drop("label", strict=False).null_count().sum_horizontal().sum() == 0
        assert not {"label", "order", "address", "time"} & {
            read.fields[name].role for name in read.features()
        }

    def test_maps_every_label_to_a_canonical_one(self, source: Source) -> None:
        for answer in source.answers:
            assert set(answer.canonical.values()) <= LABELS.keys()
            assert set(answer.categories) in (set(), set(answer.canonical))
        if source.published:
            categories = {
                source.answers[0].categories.get(name, name) for name in source.answers[0].canonical
            }
            assert all(set(part.counts) <= categories for part in source.published)

    def test_parquet_reads_as_csv(self, source: Source, tmp_path: Path) -> None:
        read = read_dataset([write(tmp_path / "a.csv", made(source))])
        read.table.write_parquet(tmp_path / "a.parquet")
        again = read_dataset([tmp_path / "a.parquet"], source=source.name)
        assert again.table.equals(read.table)
        assert again.canonical.equals(read.canonical)

    def test_rows_without_labels_are_read_when_asked(self, source: Source, tmp_path: Path) -> None:
        lines = made(source)
        columns = [index for index, field in enumerate(source.fields) if field.role != "label"]
        path = write(tmp_path / "a.csv", [[line[index] for index in columns] for line in lines])
        with pytest.raises(InputError, match="no column"):
            read_dataset([path], source=source.name)
        read = read_dataset([path], source=source.name, labelled=False)
        assert len(read) == ROWS
        assert read.canonical.null_count() == ROWS

    def test_has_its_page(self, source: Source) -> None:
        described = json.loads(json.dumps(catalogue.describe(source.name)))
        assert [column["name"] for column in described["columns"]] == [field.name for field in source.fields]
        assert source.flaws
        assert (Path("docs/datasets") / f"{source.name}.md").read_text() == catalogue.page(source.name)


def test_the_other_pages_are_fresh() -> None:
    for name, text in catalogue.pages().items():
        assert (Path("docs/datasets") / name).read_text() == text


def spoil(lines: list[list[str]], column: str, value: str, *, row: int = 3) -> list[list[str]]:
    index = lines[0].index(column)
    return [
        line if at != row else [*line[:index], value, *line[index + 1 :]] for at, line in enumerate(lines)
    ]


BAD: dict[str, tuple[Callable[[list[list[str]]], list[list[str]]], str, int]] = {
    "text in a number": (lambda lines: spoil(lines, "sbytes", "many"), "line 4: column 'sbytes' is 'many', expected a number", 1),
    "infinity": (lambda lines: spoil(lines, "rate", "inf"), "line 4: column 'rate' is 'inf', expected a finite number", 1),
    "too few cells": (lambda lines: [*lines[:3], lines[3][:-2], *lines[4:]], "line 4: 43 cells, expected 45", 1),
    "too many cells": (lambda lines: [*lines[:3], [*lines[3], "9"], *lines[4:]], "line 4: 46 cells, expected 45", 1),
    "the header again": (lambda lines: [*lines[:3], lines[0], *lines[3:]], "line 4: column 'attack_cat' is 'attack_cat', the header again", 1),
    "unknown label": (lambda lines: spoil(lines, "attack_cat", "Fuzzer"), "expected one of 10 known labels, such as 'Fuzzers'", 1),
    "several": (lambda lines: spoil(spoil(lines, "sbytes", "x"), "dur", "y", row=5), "2 rows do not fit", 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_stops_the_reading_or_is_set_aside(kind: str, tmp_path: Path) -> None:
    spoiled, message, count = BAD[kind]
    lines = spoiled(made(SOURCES["unsw-nb15"]))
    path = write(tmp_path / "a.csv", lines)
    with pytest.raises(InputError) as raised:
        read_dataset([path])
    assert message in str(raised.value)
    assert "--on-bad-row skip" in str(raised.value)
    read = read_dataset([path], on_bad_row="skip")
    assert len(read) == len(lines) - 1 - count
    assert read.set_aside.height == count
    assert read.set_aside["line"][0] == 4
    assert read.table["id"].dtype == read.table["sbytes"].dtype == pl.Int64
    assert (3 in read.table["id"]) == (kind == "the header again")


def test_a_row_can_be_kept_with_its_bad_cell_missing(tmp_path: Path) -> None:
    lines = spoil(made(SOURCES["unsw-nb15"]), "sbytes", "many")
    read = read_dataset([write(tmp_path / "a.csv", lines)], on_bad_row="keep")
    assert len(read) == ROWS
    assert read.table["sbytes"].to_list() == [1, 2, None, 4, 5, 6]
    assert any("sbytes" in note for note in read.notes)


def test_bytes_that_are_not_utf8_are_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, spoil(made(SOURCES["unsw-nb15"]), "proto", "@@"))
    path.write_bytes(path.read_bytes().replace(b"@@", b"t\x96p"))
    with pytest.raises(InputError, match=r"line 4: column 'proto' is 't\\x96p', text that is not UTF-8"):
        read_dataset([path])
    assert len(read_dataset([path], on_bad_row="skip")) == ROWS - 1


def test_quoted_line_breaks_do_not_shift_line_numbers(tmp_path: Path) -> None:
    lines = spoil(spoil(made(SOURCES["ton-iot"]), "http_uri", '"/a,\nb"', row=2), "src_bytes", "x", row=5)
    with pytest.raises(InputError, match=r"line 7: column 'src_bytes'"):
        read_dataset([write(tmp_path / "a.csv", lines)])


def test_a_part_is_told_by_its_rows_not_by_its_name() -> None:
    source = SOURCES["unsw-nb15"]
    testing = source.published[1]
    labels = pl.concat([pl.repeat(name, count, eager=True) for name, count in testing.counts.items()])
    partition, notes = compare(source, "UNSW_NB15_training-set.csv", len(labels), labels, "")
    assert partition == "test"
    assert "Its name says train" in notes[1]
    changed = labels.replace({"Worms": "Generic"})
    partition, notes = compare(source, "a.csv", len(labels), changed, "")
    assert partition is None
    assert "Worms 0 (published 44)" in notes[0]
    assert "Generic 18,915 (published 18,871)" in notes[0]
    partition, notes = compare(source, "a.csv", 10, labels.head(10), "")
    assert partition is None
    assert "No published file has 10 rows" in notes[0]


def test_a_stray_quote_costs_one_row(tmp_path: Path) -> None:
    lines = spoil(made(SOURCES["unsw-nb15"]), "proto", '"tcp')
    read = read_dataset([write(tmp_path / "a.csv", lines)], on_bad_row="skip")
    assert len(read) == ROWS - 1
    assert read.set_aside["line"].to_list() == [4]
    assert "never closed" in read.set_aside["reason"][0]


def test_line_ends_separators_and_marks_make_no_difference(tmp_path: Path) -> None:
    lines = made(SOURCES["unsw-nb15"])
    path = write(tmp_path / "a.csv", lines)
    plain = read_dataset([path])
    text = path.read_bytes()
    for number, other in enumerate(
        [text.replace(b"\n", b"\r\n"), text.replace(b",", b";"), b"\xef\xbb\xbf" + text]
    ):
        (tmp_path / f"{number}.csv").write_bytes(other)
        assert read_dataset([tmp_path / f"{number}.csv"]).table.equals(plain.table)
    (tmp_path / "wide.csv").write_bytes(text.decode().encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        read_dataset([tmp_path / "wide.csv"])
    (tmp_path / "bare.csv").write_text(",".join(lines[0]) + "\n")
    with pytest.raises(InputError, match="no rows"):
        read_dataset([tmp_path / "bare.csv"])


def test_a_bad_first_row_of_a_file_without_a_header_is_set_aside(tmp_path: Path) -> None:
    lines = [line[:43] for line in made(SOURCES["nsl-kdd"])[1:]]
    read = read_dataset([write(tmp_path / "a", [["1", "2"], *lines])], on_bad_row="skip")
    assert len(read) == ROWS
    assert read.set_aside["line"].to_list() == [1]


def test_how_numbers_are_written_is_kept(tmp_path: Path) -> None:
    lines = made(SOURCES["unsw-nb15"])
    for row, written in enumerate(["1", "2.0", "2.5", "1e3", "", "7"], start=1):
        lines = spoil(lines, "rate", written, row=row)
    lines = spoil(lines, "service", "0.0", row=1)
    read = read_dataset([write(tmp_path / "a.csv", lines)])
    assert read.formats.columns == ["service", "rate"]
    assert read.formats["rate"].to_list() == [
        dataset.INTEGER, dataset.POINT_ZERO, dataset.DECIMAL, dataset.EXPONENT, dataset.EMPTY, dataset.INTEGER,
    ]  # fmt: skip
    assert read.formats["service"].to_list() == [dataset.POINT_ZERO] + [dataset.OTHER] * 5
    assert read.take([4, 0]).formats["rate"].to_list() == [dataset.EMPTY, dataset.INTEGER]
    assert read.table["rate"].to_list() == [1, 2, 2.5, 1000, None, 7]


def test_blanks_zeros_and_marks_are_ways_of_writing_too(tmp_path: Path) -> None:
    lines = made(SOURCES["ton-iot"])
    whole = ["7", "007", " 7", "+7", "7", "7"]
    decimal = ["1.5", "1.50", "1.00", "2.0", "-", ""]
    for row, (number, fraction) in enumerate(zip(whole, decimal, strict=True), start=1):
        lines = spoil(spoil(lines, "src_pkts", number, row=row), "duration", fraction, row=row)
    lines = spoil(spoil(lines, "service", "-", row=1), "service", "", row=2)
    read = read_dataset([write(tmp_path / "a.csv", lines)], on_bad_row="keep")
    assert read.table["src_pkts"].to_list() == [7] * 6
    assert read.formats["src_pkts"].to_list() == [
        dataset.INTEGER, dataset.LEADING, dataset.PADDED, dataset.LEADING, dataset.INTEGER, dataset.INTEGER,
    ]  # fmt: skip
    assert read.formats["duration"].to_list() == [
        dataset.DECIMAL, dataset.TRAILING, dataset.TRAILING, dataset.POINT_ZERO, dataset.MARK, dataset.EMPTY,
    ]  # fmt: skip
    assert read.formats["service"].to_list()[:2] == [dataset.MARK, dataset.EMPTY]


def test_one_row_without_a_header_is_recognised(tmp_path: Path) -> None:
    source = SOURCES["nsl-kdd"]
    path = write(tmp_path / "a.csv", [["0" if field.kind == "number" else "tcp" for field in source.fields]])
    path.write_text(path.read_text().replace("tcp,0\n", "normal,21\n"))
    read = read_dataset([path])
    assert (read.name, len(read)) == ("nsl-kdd", 1)


def test_numbers_of_row_and_second_labels_are_no_features(tmp_path: Path) -> None:
    lines = made(SOURCES["ton-iot"])
    name = lines[0].index("type")
    more = [["", *lines[0], "type"], *([str(row), *line, line[name]] for row, line in enumerate(lines[1:]))]
    read = read_dataset([write(tmp_path / "a.csv", more)])
    assert read.features() == read_dataset([write(tmp_path / "b.csv", lines)]).features()
    assert (read.fields[""].role, read.fields["type.1"].role) == ("order", "label")


def test_booleans_are_numbers(tmp_path: Path) -> None:
    lines = made(SOURCES["nsl-kdd"])
    read = read_dataset([write(tmp_path / "a.csv", lines)])
    table = read.table.with_columns(pl.col("land") > 2)
    table.write_parquet(tmp_path / "a.parquet")
    again = read_dataset([tmp_path / "a.parquet"])
    assert again.table["land"].to_list() == [0, 0, 1, 1, 1, 1] and not again.set_aside.height


def test_an_unpublished_column_is_read_and_named(tmp_path: Path) -> None:
    lines = made(SOURCES["unsw-nb15"])
    planted = [
        [*line, value] for line, value in zip(lines, ["hint", "a", "b", "a", "b", "a", "b"], strict=True)
    ]
    read = read_dataset([write(tmp_path / "a.csv", planted)])
    assert read.fields["hint"].kind == "category"
    assert "hint" in read.features()
    assert any("hint" in note for note in read.notes)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "damaged.csv.gz", made(SOURCES["cicids2017"]))
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[10] = 7  # a kind of block that there is not
    path.write_bytes(packed)
    with pytest.raises(InputError, match="damaged.csv.gz: a broken gzip file"):
        read_dataset([path])


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    lines = made(SOURCES["cicids2017"])
    monday, friday = (write(tmp_path / name, lines) for name in ("monday.csv", "friday.csv"))
    friday.write_bytes(gzip.compress(friday.read_bytes()))
    read = read_dataset([monday, friday])
    assert len(read) == 2 * ROWS
    assert read.groups is not None
    assert read.groups.to_list() == [str(monday)] * ROWS + [str(friday)] * ROWS
    with pytest.raises(InputError, match="Read them apart"):
        read_dataset([monday, write(tmp_path / "u.csv", made(SOURCES["unsw-nb15"]))])


def test_the_dirt_of_cicids2017_is_mended_and_counted(tmp_path: Path) -> None:
    source = SOURCES["cicids2017"]
    lines = made(source)
    lines = spoil(spoil(lines, "Flow Bytes/s", "Infinity", row=1), "Flow Bytes/s", "NaN", row=2)
    lines = spoil(lines, "Label", "Web Attack @ XSS", row=3)
    lines[0] = [f" {name}" for name in lines[0]]
    lines[0] = [" Fwd Header Length" if name == " Fwd Header Length.1" else name for name in lines[0]]
    lines.append([""] * len(lines[0]))
    path = write(tmp_path / "a.csv", lines)
    path.write_bytes(path.read_bytes().replace(b"@", b"\x96"))
    read = read_dataset([path])
    assert len(read) == ROWS
    assert read.table["Flow Bytes/s"].null_count() == 2
    assert read.names[2] == "Web Attack - XSS"
    assert read.canonical[2] == "web.xss"
    said = " ".join(read.notes)
    assert "infinite in 1 row, NaN in 1 row" in said
    assert "cp1252" in said
    assert "1 row with nothing" in said
    assert "there twice, with the same values" in said


def test_farm_flow_has_no_bytes_and_hides_its_second_answer(tmp_path: Path) -> None:
    read = read_dataset([write(tmp_path / "a.csv", made(SOURCES["farm-flow"]))])
    assert {read.fields[name].unit for name in read.features()} == {"standard deviations"}
    assert len(read.features()) == 29
    assert read.names[1] == "Arp_Spoofing"
    assert any("disguise" in note for note in read.notes)


def test_the_later_ciciot2023_has_other_columns_and_capitals(tmp_path: Path) -> None:
    gone = [
        "flow_duration",
        "Duration",
        "Srate",
        "Drate",
        "urg_count",
        "Magnitue",
        "Radius",
        "Covariance",
        "Weight",
    ]
    lines = made(SOURCES["ciciot2023"])
    kept = [index for index, name in enumerate(lines[0]) if name not in gone]
    later = [[line[index] for index in kept] for line in lines]
    assert len(later[0]) == 40
    later[0][-1] = "Label"
    later[1:] = [[*line[:-1], line[-1].upper()] for line in later[1:]]
    later[1][-1] = "BENIGN"
    read = read_dataset([write(tmp_path / "a.csv", later)])
    assert (read.name, read.names[0], read.names[1]) == (
        "ciciot2023",
        "BenignTraffic",
        "DDoS-ACK_Fragmentation",
    )
    assert read.labels.to_list() == ["Benign"] + ["DDoS"] * 5


def test_kdd99_labels_end_in_a_full_stop(tmp_path: Path) -> None:
    lines = [line[:-1] for line in made(SOURCES["nsl-kdd"])[1:]]
    assert read_dataset([write(tmp_path / "a", lines)]).name == "nsl-kdd"
    with_stops = [[*line[:-1], line[-1] + "."] for line in lines]
    read = read_dataset([write(tmp_path / "b", with_stops)])
    assert (read.name, read.names[1], read.labels[1], read.canonical[1]) == (
        "kdd99",
        "apache2.",
        "dos",
        "flood.http",
    )


def test_recorded_flows_are_a_dataset(tmp_path: Path) -> None:
    folder = resources.files("wirespeak.lab") / "captures" / "tiny"
    recording = read_recording(Path(str(folder)))
    flows = recording.flows.with_columns(recording.labels.alias("label"), pl.lit("tiny").alias("recording"))
    flows.write_parquet(tmp_path / "a.parquet")
    flows.write_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        read = read_dataset([tmp_path / name])
        assert read.name == "recording"
        assert read.canonical.to_list() == recording.labels.to_list()
        assert read.groups is not None
        assert set(read.groups) == {"tiny"}
        assert read.table["fwd_bytes"].to_list() == recording.flows["fwd_bytes"].to_list()
        assert "src" not in read.features()
        assert "src_port" in read.features(addresses=True)


MAP = """
[dataset]
name = "farm"
label = "class"
missing = ["-"]
[labels]
Normal = "normal"
Arp = "spoof.arp"
[columns.source]
role = "address"
[columns.length]
unit = "bytes"
"""


def test_any_table_can_be_mapped(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(MAP)
    (tmp_path / "a.csv").write_text("class,source,length,state\nNormal,10.0.0.1,12,S1\nArp,10.0.0.2,-,OTH\n")
    read = read_dataset([tmp_path / "a.csv"], map=tmp_path / "farm.toml")
    assert read.features() == ["length", "state"]
    assert read.table["length"].to_list() == [12, None]
    assert read.fields["length"].unit == "bytes"
    assert read.binary().to_list() == ["normal", "attack"]
    (tmp_path / "bad.toml").write_text(MAP.replace("spoof.arp", "spoof.arpp"))
    with pytest.raises(OptionError, match=r"Did you mean 'spoof.arp'"):
        read_dataset([tmp_path / "a.csv"], map=tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text(MAP.replace("columns.length", "columns.lenght"))
    with pytest.raises(InputError, match="no column 'lenght'"):
        read_dataset([tmp_path / "a.csv"], map=tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('missing = "-"', "'missing' is '-', expected a list"),
        ('separator = ";;"', "expected one character"),
        ('encoding = "klingon"', "encoding is 'klingon'"),
        ('infinities = "no"', "expected true or false"),
    ],
)
def test_a_mistake_in_a_map_is_named(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("class\nnormal\n")
    (tmp_path / "map.toml").write_text(f'[dataset]\nname = "a"\nlabel = "class"\n{line}\n')
    with pytest.raises(OptionError, match=says) as raised:
        read_dataset([tmp_path / "a.csv"], map=tmp_path / "map.toml")
    assert "map.toml: " in str(raised.value)


def test_what_cannot_be_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"--map FILE.toml"):
        read_dataset([tmp_path / "a.csv"])
    with pytest.raises(OptionError, match="Did you mean 'nsl-kdd'"):
        read_dataset([tmp_path / "a.csv"], source="nslkdd")
    with pytest.raises(InputError, match="no such file"):
        read_dataset([tmp_path / "b.csv"])
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InputError, match="Unpack it"):
        read_dataset([tmp_path / "a.zip"])
    with pytest.raises(InputError, match="a folder"):
        read_dataset([tmp_path])
    with pytest.raises(OptionError, match="given twice"):
        read_dataset([tmp_path / "a.csv", tmp_path / ".." / tmp_path.name / "a.csv"])
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\0,\1\n")
    with pytest.raises(InputError, match="not text"):
        read_dataset([tmp_path / "binary.csv"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="no rows"):
        read_dataset([tmp_path / "empty.csv"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on the loopback that serves a folder: its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", folder
        httpd.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_fetched_file_is_checked_before_it_gets_its_name(server: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = server
    (folder / "rows.gz").write_bytes(b"some rows")
    digest = hashlib.sha256(b"some rows").hexdigest()
    wanted = Download("rows.gz", address + "rows.gz", digest)
    target = tmp_path / "here"
    first = catalogue.download(wanted, target)
    assert (first["bytes"], first["verified"], first["already_there"]) == (9, True, False)
    assert catalogue.download(wanted, target)["already_there"]
    (folder / "rows.gz").write_bytes(b"other rows")
    (target / "rows.gz").unlink()
    with pytest.raises(InputError, match="expected"):
        catalogue.download(wanted, target)
    with pytest.raises(InputError, match="404"):
        catalogue.download(Download("no.gz", address + "no.gz"), target)
    with pytest.raises(InputError, match="bytes of 99"):
        catalogue.download(Download("rows.gz", address + "rows.gz", size=99), target)
    assert list(target.iterdir()) == []


def test_a_dataset_behind_a_form_is_not_fetched_but_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Open https://www.unb.ca.* form "):
        catalogue.fetch("nsl-kdd", tmp_path)
    write(tmp_path / "any.csv", made(SOURCES["nsl-kdd"]))
    record = catalogue.fetch("nsl-kdd", tmp_path)
    assert record["fetched"] == [] and "No published file has 6 rows" in record["found"][0]["notes"][0]
    with pytest.raises(OptionError, match="Did you mean"):
        catalogue.fetch("nsl-kd", tmp_path)


class TestRealFiles:
    def test_nsl_kdd(self) -> None:
        record, read = catalogue.check([real("nsl-kdd/KDDTrain+.txt")])
        assert record["files"][0]["published_as"] == "KDDTrain+"
        assert record["labels"] == {"normal": 67343, "dos": 45927, "probe": 11656, "r2l": 995, "u2r": 52}
        assert read.partition is not None
        assert set(read.partition) == {"train"}
        assert read.granularity == "connection"
        assert len(read.features()) == 41
        assert read.table["num_outbound_cmds"].max() == 0
        part = read_dataset([real("nsl-kdd/KDDTrain+_20Percent.txt")])
        assert part.table.equals(read.take(np.arange(len(part))).table)

    def test_unsw_nb15(self) -> None:
        read = read_dataset([real("unsw-nb15/UNSW_NB15_82332_dev.csv")])
        assert len(read) == 57_710
        assert read.partition is None
        assert read.table.width == 45
        assert not {"id", "attack_cat", "label"} & set(read.features())
        assert any("another category" in note for note in read.notes)

    def test_ton_iot_reads_the_same_from_csv_and_parquet(self) -> None:
        written = read_dataset([real("ton-iot/train_test_network_dev.csv")])
        stored = read_dataset([real("ton-iot/train_test_network_dev.parquet")])
        assert len(written) == 122_700
        assert written.names.equals(stored.names)
        assert written.table.equals(stored.table)
        assert written.table["dns_query"].null_count() == 102_596

    def test_cicids2017(self) -> None:
        read = read_dataset([real("cicids2017-sample/cic_ids2017_multiclass_dev.csv")])
        assert len(read) == 5_997
        assert read.table["Flow Packets/s"].null_count() == 9
        assert dict(read.names.value_counts().iter_rows())["Web Attack - Sql Injection"] == 15

    def test_edge_iiotset_keeps_how_zeros_are_written(self) -> None:
        path = real("edge-iiotset/edge_iiot_micro_sample.csv")
        with pytest.raises(InputError, match="the cells of this row have moved"):
            read_dataset([path])
        read = read_dataset([path], on_bad_row="skip")
        assert read.set_aside["line"].to_list() == [11, 22]
        assert read.granularity == "packet"
        normal = read.formats.filter(read.canonical == "normal")["mqtt.topic"]
        attack = read.formats.filter(read.canonical != "normal")["mqtt.topic"]
        assert set(normal) == {dataset.INTEGER}
        assert set(attack) == {dataset.POINT_ZERO}
        assert read.table["mqtt.topic"].null_count() == len(read)
        assert len(read_dataset([path], on_bad_row="keep")) == 21

    def test_farm_flow_samples_need_a_map(self, tmp_path: Path) -> None:
        (tmp_path / "map.toml").write_text(
            '[dataset]\nname = "raw"\nlabel = "class"\nmissing = ["-"]\n[labels]\nNormal = "normal"\n'
            'Arp_Spoofing = "spoof.arp"\nHTTP_Flood = "flood.http"\nPort_Scanning = "recon.port_scan"\n'
            'UDP_Flood = "flood.udp"\n[columns.source_ip]\nrole = "address"\n'
        )
        read = read_dataset([real("farm-flow/farmflow_raw_flow_samples.csv")], map=tmp_path / "map.toml")
        assert len(read) == 15
        assert read.table["duration"].dtype == pl.Float64

    def test_a_folder_is_searched_by_content(self) -> None:
        found = {each["name"]: each["found"] for each in catalogue.catalogue(real(""))}
        assert len(found["nsl-kdd"]) == 2
        assert len(found["ton-iot"]) == 2
        assert found["kdd99"] == []
