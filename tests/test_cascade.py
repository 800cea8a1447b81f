"""The cascade: a tree that imitates, a cache that repeats, thresholds that keep their word, budgets that hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time, sleep

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wirespeak.contracts import Detector
from wirespeak.detect.cascade import Budget, Cache, Cascade, is_cascade, make_cascade
from wirespeak.detect.distilled import Distilled
from wirespeak.errors import InputError, ModelError, OptionError

pytest.importorskip("lightgbm", reason="a tree is taught with wirespeak[baselines]")
pytest.importorskip("onnx", reason="a tree is written with wirespeak[train]")

LABELS = ("normal", "flood.syn", "recon.sweep")


class Teacher:
    """Slow and sure of itself: judges by size, rate and protocol, and counts what it is asked."""

    name = "teacher"

    def __init__(
        self, labels: Sequence[str] = LABELS, *, wait: float = 0.0, sharp: float = 8.0, silent: bool = False
    ) -> None:
        self.labels, self.wait, self.sharp, self.silent = tuple(labels), wait, sharp, silent
        self.asked: list[int] = []

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        self.asked.append(len(flows))
        sleep(self.wait * len(flows))
        size, rate = (flows[name].fill_null(0).to_numpy() for name in ("bytes", "rate"))
        udp = (flows["protocol"] == "udp").fill_null(False).to_numpy()
        scores = {
            "normal": 0 * size,
            "flood.syn": rate - 5,
            "recon.sweep": np.where(udp, 400 - size, -200) / 100,
        }
        powers = np.exp(self.sharp * np.column_stack([scores[label] for label in self.labels]))
        chances = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return np.full_like(chances, np.nan) if self.silent else chances

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Teacher:
        return self

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)


def rows(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "bytes": rng.integers(0, 1000, count),
            "rate": rng.uniform(0, 10, count).round(2),
            "protocol": rng.choice(["tcp", "udp", "icmp"], count),
        }
    )


@pytest.fixture(scope="module")
def tree() -> Distilled:
    taught = rows(4000, 1)
    return Distilled(rounds=15).imitate(taught, Teacher().predict(taught), LABELS, seed=3)


def _cascade(tree: Distilled, sure: float = 0.9, **options: object) -> Cascade:
    return Cascade(Teacher(), tree, thresholds=dict.fromkeys(LABELS, sure), **options)  # type: ignore[arg-type]


def _asked(detector: Detector | None) -> int:
    assert isinstance(detector, Teacher)
    return sum(detector.asked)


def test_the_tree_imitates_its_teacher(tree: Distilled) -> None:
    judged = rows(2000, 2)
    expected, found = Teacher().predict(judged), tree.predict(judged)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.97
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_file_answers_as_lightgbm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightgbm

    kept = []
    train = lightgbm.train
    monkeypatch.setattr(lightgbm, "train", lambda *given: kept.append(train(*given)) or kept[-1])
    taught, judged = rows(1500, 4), rows(1500, 5)
    answers = Teacher(sharp=1.0).predict(taught)
    tree = Distilled(rounds=20).imitate(taught, answers, LABELS)
    # Cuts lie between training values: judge on those, where a careless rounding of a cut would show.
    for some in (taught, judged):
        scores = kept[0].predict(tree.encode(some), raw_score=True) + np.log(answers.mean(axis=0))
        expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(tree.predict(some), expected, atol=1e-5)


def test_a_tree_comes_back_from_disk(tree: Distilled, tmp_path: Path) -> None:
    tree.save(tmp_path)
    judged = rows(300, 6).with_columns(pl.lit("never seen").alias("protocol"))
    np.testing.assert_array_equal(Distilled.load(tmp_path).predict(judged), tree.predict(judged))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree.json", "tree.onnx"]


def test_teaching_twice_gives_the_same_tree(tree: Distilled, tmp_path: Path) -> None:
    taught = rows(4000, 1)
    again = Distilled(rounds=15).imitate(taught, Teacher().predict(taught), LABELS, seed=3)
    for name, one in (("one", tree), ("two", again)):
        one.save(tmp_path / name)
    assert (tmp_path / "one/tree.onnx").read_bytes() == (tmp_path / "two/tree.onnx").read_bytes()


def test_what_was_not_measured_or_never_seen_gets_an_answer() -> None:
    odd = pl.DataFrame(
        {"number": [1.0, None, float("nan"), float("inf"), -1e300], "text": ["a", None, "b", "c", ""]}
    )
    tree = Distilled(rounds=2).fit(
        pl.DataFrame({"number": [1.0, 2.0, None] * 20, "text": ["a", "b", None] * 20}), ["x", "y", "z"] * 20
    )
    assert np.isfinite(tree.predict(odd)).all()
    assert tree.encode(odd)[:, 1].tolist() == [0, -1, 1, 2, 2]
    nothing = tree.predict(odd[:0])
    assert nothing.shape == (0, 3)


@pytest.mark.parametrize("damage", ["absent", "tree.onnx", "tree.json", "strange"])
def test_a_damaged_tree_is_one_clear_error(tree: Distilled, tmp_path: Path, damage: str) -> None:
    if damage != "absent":
        tree.save(tmp_path)
    if damage.startswith("tree"):
        (tmp_path / damage).write_bytes(b"{ nothing")
    if damage == "strange":
        (tmp_path / "tree.json").write_text(json.dumps({"labels": ["a"], "columns": {"bytes": None}}))
    with pytest.raises(ModelError, match="Make the cascade again"):
        Distilled.load(tmp_path)


def test_a_table_that_does_not_fit_is_one_clear_error(tree: Distilled) -> None:
    with pytest.raises(InputError, match="lacks 1 columns .* rate"):
        tree.predict(rows(3, 1).drop("rate"))
    with pytest.raises(InputError, match="'bytes' holds String"):
        tree.predict(rows(3, 1).with_columns(pl.lit("many").alias("bytes")))
    with pytest.raises(InputError, match="answers of shape"):
        Distilled().imitate(rows(3, 1), np.zeros((2, 3), np.float32), LABELS)
    with pytest.raises(InputError, match="taught nothing"):
        Distilled().predict(rows(3, 1))


def test_each_stage_answers_what_it_is_for(tree: Distilled) -> None:
    cascade, judged = _cascade(tree, 0.9), rows(1000, 7)
    twice = pl.concat([judged, judged])
    distinct = judged.n_unique()
    found = cascade.predict(twice)
    slow_tree, slow_model = tree.predict(twice), Teacher().predict(twice)
    sure = slow_tree.max(axis=1) >= 0.9
    np.testing.assert_allclose(found, np.where(sure[:, None], slow_tree, slow_model), atol=1e-6)
    report = cascade.report
    unsure = judged.filter(pl.Series(~sure[:1000])).n_unique()
    assert 0 < unsure < distinct
    assert report["model"].rows == report["model"].asked == _asked(cascade.detector) == unsure
    assert report["tree"].asked == distinct and report["tree"].rows == distinct - unsure
    assert report["cache"].rows == 2000 - distinct
    shown = report.table()
    assert shown["share"].sum() == pytest.approx(1) and shown["stage"].to_list()[0] == "cache"
    assert cascade.distinct == pytest.approx(distinct / 2000)


def test_a_row_answered_before_is_not_asked_again(tree: Distilled) -> None:
    cascade, judged = _cascade(tree, 2.0), rows(200, 8)
    first = cascade.predict(judged)
    np.testing.assert_array_equal(cascade.predict(judged[::-1]), first[::-1])
    assert cascade.report["cache"].rows == 200 and cascade.report["tree"].asked == 0
    assert _asked(cascade.detector) == judged.n_unique()


def test_pieces_get_the_same_answers_as_the_whole(tree: Distilled) -> None:
    judged = rows(500, 9)
    whole = _cascade(tree).predict(judged)
    for remembered in (0, 7, 100_000):
        cascade = _cascade(tree, remembered=remembered)
        pieces = [cascade.predict(judged[start : start + 60]) for start in range(0, 500, 60)]
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=12), st.integers(0, 9))
def test_the_cache_is_the_last_distinct_rows(calls: list[list[int]], size: int) -> None:
    cache, slow = Cache(size, 1), dict[int, float]()
    for call in calls:
        new = [key for key in dict.fromkeys(call) if key not in slow]
        cache.keep(np.array(new, np.uint64), np.array(new, np.float32)[:, None])
        slow |= dict.fromkeys(new, 0.0)
        slow = dict(list(slow.items())[max(0, len(slow) - size) :])
        places = cache.find(np.arange(31).astype(np.uint64))
        assert [key for key in range(31) if places[key] >= 0] == sorted(slow) and len(cache) == len(slow)
        assert cache.answers(places[places >= 0])[:, 0].tolist() == sorted(slow)


def test_rows_are_told_apart_by_every_column() -> None:
    cache = Cache(10, 1)
    table = pl.DataFrame({"a": [1, 1, 2, 1], "b": ["x", "y", "x", "x"]})
    keys = cache.keys(table)
    assert keys[0] == keys[3] and len(set(keys.tolist())) == 3
    coded = table.with_columns(pl.col("b").cast(pl.Categorical))
    assert cache.keys(coded[::-1])[::-1].tolist() == keys.tolist()
    assert Cache(10, 1).keys(table).tolist() != keys.tolist()


@pytest.mark.parametrize("truth", [True, False])
def test_thresholds_lose_no_more_than_they_may(tree: Distilled, truth: bool) -> None:
    """Against a slow macro-F1: the cascade's, and that of the model alone, on the rows they were chosen on."""
    from wirespeak.evaluate.metrics import macro_f1

    judged = pl.concat([rows(3000, 10), rows(300, 11), rows(300, 11)])
    alone = Teacher().predict(judged)
    said = [LABELS[best] for best in alone.argmax(axis=1)]
    real = [LABELS[0] if place % 50 == 0 else label for place, label in enumerate(said)]
    passed = []
    for share in (0.0, 0.005, 0.05):
        cascade = _cascade(tree)
        cascade.fit_thresholds(judged, alone, labels=real if truth else None, share=share)
        found = [LABELS[best] for best in cascade.predict(judged).argmax(axis=1)]
        against = real if truth else said
        assert macro_f1(against, said) - macro_f1(against, found) <= share * 1.05 + 1e-9
        passed.append(cascade.report["tree"].rows)
    assert 1000 < passed[0] < passed[1] < passed[2]


def test_a_label_seen_too_seldom_is_left_to_the_model(tree: Distilled) -> None:
    cascade = _cascade(tree)
    few = rows(400, 12).filter(pl.col("protocol") != "udp")
    limits = cascade.fit_thresholds(few, Teacher().predict(few))
    assert "recon.sweep" not in limits and set(limits) == {"normal", "flood.syn"}


def test_the_large_model_is_asked_what_the_model_is_unsure_of(tree: Distilled) -> None:
    large = Teacher(LABELS[::-1], sharp=20.0)
    cascade = Cascade(Teacher(sharp=0.3), tree, thresholds={}, large=large, doubt=0.6, price=0.01)
    judged = rows(300, 13).unique(maintain_order=True)
    unsure = Teacher(sharp=0.3).predict(judged).max(axis=1) < 0.6
    found = cascade.predict(judged)
    np.testing.assert_allclose(found[unsure], Teacher(sharp=20.0).predict(judged)[unsure], atol=1e-6)
    assert _asked(large) == unsure.sum() == cascade.report["large"].rows
    assert cascade.report["large"].money == pytest.approx(unsure.sum() * 0.01) == cascade.spent


def test_a_silent_model_is_no_answer_and_a_silent_large_one_changes_nothing(tree: Distilled) -> None:
    judged = rows(50, 14)
    assert np.isnan(Cascade(Teacher(silent=True), tree).predict(judged)).all()
    kept = Cascade(Teacher(), tree, large=Teacher(silent=True), doubt=2.0).predict(judged)
    np.testing.assert_allclose(kept, Teacher().predict(judged), atol=1e-6)
    helped = Cascade(Teacher(silent=True), tree, large=Teacher()).predict(judged)
    np.testing.assert_allclose(helped, Teacher().predict(judged), atol=1e-6)


def test_money_buys_the_least_sure_rows_first_and_never_more(tree: Distilled) -> None:
    judged = rows(200, 15).unique(maintain_order=True)
    large, doubt = Teacher(), 0.9
    cascade = Cascade(
        Teacher(sharp=0.3), tree, large=large, doubt=doubt, price=0.5, budget=Budget(money=10.0)
    )
    cascade.predict(judged)
    assert _asked(large) == 20 and cascade.spent == 10.0
    unsure = int((Teacher(sharp=0.3).predict(judged).max(axis=1) < doubt).sum())
    assert cascade.report.over_budget == unsure - 20
    cascade.predict(rows(200, 16))
    assert _asked(large) == 20


@pytest.mark.parametrize("budget", [Budget(seconds=0.15), Budget(flows_per_s=2000.0)])
def test_time_is_kept_and_what_is_left_over_has_an_answer(tree: Distilled, budget: Budget) -> None:
    judged = rows(300, 17)
    cascade = Cascade(Teacher(wait=0.01), tree, budget=budget)  # 3 s for all of them
    began = perf_counter()
    found = cascade.predict(judged)
    assert perf_counter() - began < 1.5
    report = cascade.report
    assert 0 < report["model"].rows < 300 and np.isfinite(found).all()
    assert report.over_budget >= report["tree"].rows > 0
    slow = tree.predict(judged)
    as_tree = np.isclose(found, slow, atol=1e-6).all(axis=1)
    assert as_tree.sum() >= report["tree"].rows
    cascade.predict(judged)  # what was left over is asked when there is time again
    assert cascade.report["model"].rows > 0


def test_no_time_at_all_leaves_the_tree(tree: Distilled) -> None:
    cascade = Cascade(Teacher(), tree, budget=Budget(seconds=0.0))
    judged = rows(100, 18)
    np.testing.assert_allclose(cascade.predict(judged), tree.predict(judged), atol=1e-6)
    assert cascade.report.over_budget == 100 and _asked(cascade.detector) == 0
    with pytest.raises(OptionError, match="budget seconds is -1"):
        Budget(seconds=-1)


def test_stages_must_speak_of_the_same_labels(tree: Distilled) -> None:
    with pytest.raises(ModelError, match="not the same"):
        Cascade(Teacher(("normal", "flood.syn")), tree)


@pytest.mark.slow
def test_a_cascade_of_a_table_is_made_saved_and_loaded(tmp_path: Path) -> None:
    from wirespeak.detect.drawer import make

    table = rows(1500, 19)
    labels = [LABELS[best] for best in Teacher().predict(table).argmax(axis=1)]
    forest = make("forest", trees=10, threads=1).fit(table, labels)
    made = make_cascade(forest, table, table, labels, tmp_path / "made", seed=1)
    judged = rows(400, 20)
    expected = made.predict(judged)
    again = Cascade.load(tmp_path / "made", threads=1)
    np.testing.assert_allclose(again.predict(judged), expected, atol=1e-6)
    assert again.thresholds == made.thresholds and again.report["tree"].rows > 0
    card = json.loads((tmp_path / "made/card.json").read_text("utf-8"))
    assert card["kind"] == "cascade" and card["stages"] == ["cache", "tree", "model"]


def test_a_cascade_keeps_the_promise_of_a_detector(tree: Distilled, tmp_path: Path) -> None:
    cascade = _cascade(tree)
    assert isinstance(cascade, Detector) and isinstance(tree, Detector)
    assert cascade.predict(rows(0, 1)).shape == (0, 3)
    with pytest.raises(InputError, match="make_cascade"):
        cascade.fit(rows(3, 1), ["normal"] * 3)
    with pytest.raises(InputError, match="lacks 1 columns .* rate"):
        cascade.predict(rows(3, 1).drop("rate"))
    with pytest.raises(ModelError, match="card.json"):
        Cascade.load(tmp_path)
    (tmp_path / "card.json").write_text(
        json.dumps({"kind": "forest", "labels": [], "options": {}, "seed": 0})
    )
    with pytest.raises(ModelError, match="describes no cascade"):
        Cascade.load(tmp_path)
    assert is_cascade("cascade") and not is_cascade(None) and not is_cascade(str(tmp_path))
    cascade.save(tmp_path)
    assert is_cascade(str(tmp_path))
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    for name, value in (
        ("thresholds", {"normal": "high"}),
        ("thresholds", ["normal"]),
        ("labels", 3),
        ("options", []),
    ):
        (tmp_path / "card.json").write_text(json.dumps(card | {name: value}))
        with pytest.raises(ModelError, match=rf"card.json: '{name}' is .*, expected"):
            Cascade.load(tmp_path, model=Teacher())
    (tmp_path / "card.json").write_text(json.dumps(card | {"options": {"doubt": "much"}}))
    with pytest.raises(ModelError, match="option 'doubt' is 'much', expected a number"):
        Cascade.load(tmp_path, model=Teacher())


class Watcher:
    """Judges flows by their state, and keeps what it was shown."""

    name, labels = "watcher", ("flood.syn", "normal", "recon.sweep")

    def __init__(self) -> None:
        self.shown: list[pl.DataFrame] = []

    def predict(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        self.shown.append(flows)
        attack = (flows["state"] == "S0").to_numpy()
        return np.eye(3, dtype=np.float32)[np.where(attack, 0, np.where(flows["protocol"] == "arp", 2, 1))]

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Watcher:
        return self

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)


@pytest.mark.slow
def test_of_flows_the_tree_is_shown_what_no_recording_shows(tmp_path: Path) -> None:
    from wirespeak import lab
    from wirespeak.lab.labelled import read_recording
    from wirespeak.schema import compact_columns

    flows = read_recording(Path(lab.__file__).parent / "captures" / "tiny").flows
    carried = [column.name for column in compact_columns()]
    watcher = Watcher()
    made = make_cascade(watcher, flows, flows, None, tmp_path, beside=400, seed=2)
    real, beside = watcher.shown[:2]
    assert real.columns == beside.columns == carried and real.schema == beside.schema
    assert 350 < len(beside) <= 400 and len(beside.join(real, on=carried, how="anti", nulls_equal=True)) > 250
    most = {name: real[name].max() for name in ("fwd_packets", "src_flows_2s_grade", "fwd_bytes")}
    assert any((beside[name] > most[name]).any() for name in most)
    expected = watcher.predict(flows).argmax(axis=1)
    assert (made.predict(flows).argmax(axis=1) == expected).mean() > 0.97


@pytest.mark.slow
def test_a_cascade_around_a_language_model_is_saved_and_loaded(tiny_model: Path, tmp_path: Path) -> None:
    from wirespeak import lab
    from wirespeak.detect.language import LanguageDetector
    from wirespeak.lab.labelled import read_recording

    flows = read_recording(Path(lab.__file__).parent / "captures" / "tiny").flows
    detector = LanguageDetector.load(str(tiny_model), threads=1)
    made = make_cascade(detector, flows, flows, None, tiny_model / "cascade", beside=200, model="..")
    loaded = Cascade.load(tiny_model / "cascade", threads=1)
    np.testing.assert_allclose(loaded.predict(flows), made.predict(flows), atol=1e-5)
    assert loaded.model.card["name"] == "tiny"
    best = loaded.predict(flows).argmax(axis=1)
    assert (best == detector.predict(flows).argmax(axis=1)).mean() > 0.95


@pytest.mark.slow
def test_the_tree_is_fast() -> None:
    """Far below what it does on a quiet core, so that a busy one passes; seventy columns, a dozen labels."""
    rng = np.random.default_rng(0)
    table = pl.DataFrame({f"c{place}": rng.integers(0, 20, 20_000) for place in range(63)}).with_columns(
        pl.Series(f"t{place}", rng.choice(["a", "b", "c", "d"], 20_000)) for place in range(7)
    )
    tree = Distilled().fit(table[:3000], rng.choice([f"l{n}" for n in range(12)], 3000).tolist())
    tree.predict(table[:100])
    began = process_time()
    tree.predict(table)
    assert 20_000 / (process_time() - began) > 20_000
