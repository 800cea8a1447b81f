"""One suite over the drawer of detectors: a new kind is tested by being listed there."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sklearn", reason="detectors that learn from tables need wirespeak[baselines]")

from wirespeak.contracts import Detector
from wirespeak.data.dataset import Dataset, Field
from wirespeak.detect import load_detector
from wirespeak.detect.drawer import DETECTORS, load, make
from wirespeak.detect.learn import learn
from wirespeak.detect.priors import Prior, inner_folds, thinned
from wirespeak.detect.saved import read_model, write_model
from wirespeak.detect.table import Encoding, thinned_copies
from wirespeak.errors import InputError, MissingPart, ModelError, OptionError, OutputError

SMALL_DECODER = {
    "width": 16, "layers": 1, "heads": 2, "hidden": 32, "epochs": 120, "dropout": 0.0, "rate": 0.006,
}  # fmt: skip
# Small enough for a test; everything else as it comes.
SMALL: dict[str, dict[str, Any]] = {
    "forest": {"trees": 20},
    "extra-trees": {"trees": 20},
    "xgboost": {"rounds": 10},
    "lightgbm": {"rounds": 20, "rate": 0.2},
    "hist-boost": {"rounds": 10, "rate": 0.2},
    "mlp": {"width": 32},
    "lstm": {"width": 16, "rate": 0.01},
    "flaml": {"trials": 6, "budget_s": 60},
    "isolation-forest": {"trees": 40},
    "online": {"block": 100, "trees": 10},
    "vote": {"members": ("forest", "xgboost")},
    "stack": {"members": ("forest", "xgboost")},
    "tuned": {"effort": 0.1, "mixed": 20},
    "language": SMALL_DECODER,
    "cascade": SMALL_DECODER,
}
# In their own environment, or with a model that must be named: test_autogluon.py, test_spoken.py.
APART = ("autogluon", "zero-shot", "few-shot")
SLOW = {"lstm", "flaml", "mlp", "stack", "language", "cascade"}
SAVED = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else [])
    for name in DETECTORS
    if name not in APART
]


def rows(count: int = 300, seed: int = 0) -> tuple[pl.DataFrame, list[str]]:
    """Numbers, categories, nulls, an empty column; four rows of a rare label and one of a single one."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["normal", "flood", "scan"], count, p=(0.5, 0.3, 0.2)).astype(object)
    labels[:4], labels[4] = "rare", "single"
    size = rng.lognormal(4, 1, count) * np.where(labels == "flood", 50, 1)
    service = np.where(labels == "scan", "private", rng.choice(["http", "dns", "ssh"], count))
    flows = pl.DataFrame(
        {
            "bytes": size,
            "flows": rng.integers(0, 9, count) + 40 * (labels == "rare"),
            "service": service.tolist(),
            "nothing": pl.Series([None] * count, dtype=pl.Float64),
            "urgent": labels == "scan",
        }
    )
    blank = pl.int_range(pl.len()) % 7 == 3
    return flows.with_columns(pl.when(~blank).then(pl.col("bytes", "service")).name.keep()), labels.tolist()


@pytest.fixture(scope="module")
def fitted() -> Any:
    """Each detector, fitted once."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = small(name).fit(*rows(), seed=3)
        return made[name]

    return get


def small(name: str) -> Any:
    if name in ("lstm", "language", "cascade"):
        pytest.importorskip("torch", reason=f"the {name} detector needs wirespeak[train]")
    return make(name, threads=1, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", SAVED)
class TestEveryDetector:
    def test_it_answers_with_probabilities_in_the_order_of_its_labels(self, name: str, fitted: Any) -> None:
        detector = fitted(name)
        flows, labels = rows(seed=1)
        chances = detector.predict(flows)
        assert isinstance(detector, Detector) and detector.name == name
        assert chances.dtype == np.float32 and chances.shape == (len(flows), len(detector.labels))
        np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
        hostile = chances[:, detector.labels.index("normal")] < 0.5
        truth = np.array(labels) != "normal"
        assert hostile[truth].mean() > hostile[~truth].mean() + 0.05
        assert detector.predict(flows[:0]).shape == (0, len(detector.labels))

    def test_the_same_seed_gives_the_same_answers(self, name: str, fitted: Any) -> None:
        flows, _ = rows(seed=1)
        again = small(name).fit(*rows(), seed=3)
        np.testing.assert_array_equal(again.predict(flows), fitted(name).predict(flows))

    def test_a_row_is_judged_alone(self, name: str, fitted: Any) -> None:
        flows, _ = rows(60, seed=1)
        order = np.random.default_rng(0).permutation(60)
        there = fitted(name).predict(flows[order])
        np.testing.assert_allclose(there, fitted(name).predict(flows)[order], atol=1e-6)
        np.testing.assert_allclose(
            fitted(name).predict(flows[:1]), fitted(name).predict(flows)[:1], atol=1e-6
        )

    def test_it_is_the_same_after_saving_and_holds_no_pickle(
        self, name: str, fitted: Any, tmp_path: Path
    ) -> None:
        flows, _ = rows(seed=1)
        fitted(name).save(tmp_path)
        loaded = load(tmp_path)
        np.testing.assert_allclose(loaded.predict(flows), fitted(name).predict(flows), atol=1e-6)
        assert loaded.options() == json.loads(json.dumps(fitted(name).options()))
        card = json.loads((tmp_path / "card.json").read_text())
        assert {"kind", "columns", "labels", "options", "seed", "wirespeak"} <= card.keys()
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert path.suffix in (".json", ".npz", ".skops", ".txt", ".safetensors", ".onnx", ".parquet")
            inside = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
            assert not [member for member in inside if not member.endswith((".npy", ".json"))]
            assert not path.read_bytes().startswith(b"\x80")

    def test_it_learns_two_labels(self, name: str, tmp_path: Path) -> None:
        flows, labels = rows(120)
        detector = small(name).fit(flows, ["normal" if label == "normal" else "attack" for label in labels])
        detector.save(tmp_path)
        assert detector.predict(flows).shape == (120, 2)
        np.testing.assert_allclose(load(tmp_path).predict(flows), detector.predict(flows), atol=1e-6)

    def test_it_takes_what_training_did_not_show(self, name: str, fitted: Any) -> None:
        flows, _ = rows(40, seed=2)
        strange = flows.with_columns(
            service=pl.lit("gopher"),
            bytes=pl.lit(float("inf")),
            nothing=pl.lit(3.0),
            flows=pl.lit(None, pl.Int64),
        )
        assert np.isfinite(fitted(name).predict(strange)).all()

    def test_it_names_columns_that_do_not_fit(self, name: str, fitted: Any) -> None:
        flows, _ = rows(10)
        with pytest.raises(
            InputError, match=r"not trained on: 'bytse' \(did you mean 'bytes'.*lacks.*'bytes'"
        ):
            fitted(name).predict(flows.rename({"bytes": "bytse"}))
        with pytest.raises(InputError, match="another kind than in training: 'bytes'"):
            fitted(name).predict(flows.with_columns(bytes=pl.lit("many")))


def test_an_unknown_name_or_option_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean 'forest'"):
        make("florest")
    with pytest.raises(OptionError, match="Did you mean 'trees'"):
        make("forest", tree=3)
    with pytest.raises(OptionError, match="expected a whole number"):
        make("forest", trees="many")
    with pytest.raises(OptionError, match="'stack' cannot be a member of 'vote'"):
        make("vote", members=("stack",)).fit(*rows(30))


def test_labels_that_do_not_fit_the_rows_are_refused() -> None:
    flows, labels = rows(30)
    with pytest.raises(InputError, match="30 rows came with 29 labels"):
        make("forest").fit(flows, labels[1:])
    with pytest.raises(InputError, match="two labels"):
        make("forest").fit(flows, ["normal"] * 30)
    with pytest.raises(InputError, match="learnt nothing"):
        make("forest").predict(flows)


def test_a_model_file_of_anything_else_is_refused(tmp_path: Path) -> None:
    write_model(Path("strange"), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="pathlib"):
        read_model(tmp_path / "model.skops")
    (tmp_path / "model.skops").write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match="Train it again"):
        read_model(tmp_path / "model.skops")
    with pytest.raises(ModelError, match="no saved detector"):
        load(tmp_path)


DAMAGE: dict[str, Any] = {
    "kind": ["forest"], "labels": 3, "options": ["trees"], "temperature": "hot", "seed": "x", "canonical": [], "dataset": 3,
    "shares": ["a", "b"], "thresholds": {"normal": "high"}, "training": None,
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_card_of_another_form_says_which_part(name: str, fitted: Any, tmp_path: Path) -> None:
    fitted("forest").save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, name: DAMAGE[name]}))
    with pytest.raises(ModelError, match=rf"card.json: '{name}' is .*, expected .*\. Train the model again"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0}, "'temperature' is 0, expected a number above 0"),
        ({"temperature": float("nan")}, "'temperature' is nan"),
        ({"labels": ["normal", 3]}, "'labels' is .*, expected a list of names"),
        ({"thresholds": ["normal"]}, "expected a number for each label"),
        ({"shares": [0.5, 0.5]}, "'shares' holds 2 numbers, expected one for each"),
        ({"kind": "florest"}, "unknown detector 'florest'. Did you mean 'forest'.* Train the detector again"),
        ({"options": {"tree": 3}}, "Did you mean 'trees'.* Train the detector again"),
        ({"options": {"trees": "many"}}, "'trees' .* is 'many', expected a whole number"),
        ({"options": {"threads": "two"}}, "'threads' .* is 'two', expected a whole number or nothing"),
    ],
)
def test_a_card_that_cannot_be_is_refused(
    changes: dict[str, Any], said: str, fitted: Any, tmp_path: Path
) -> None:
    fitted("forest").save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | changes))
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("encoding.npz", None),
        ("encoding.npz", b"torn"),
        ("encoding.json", None),
        ("encoding.json", b"[3]"),
        ("encoding.json", b'[{"name": 3, "kind": "number", "categories": [], "centre": 0, "spread": 1}]'),
        ("encoding.json", b"{"),
        ("model.skops", None),
    ],
)
def test_a_file_that_is_missing_or_torn_is_one_clear_error(
    file: str, content: bytes | None, fitted: Any, tmp_path: Path
) -> None:
    fitted("forest").save(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{tmp_path}.*{file}.*Train .*it again|Train the detector again"):
        load(tmp_path)


def test_what_only_one_kind_keeps_may_be_damaged_too(fitted: Any, tmp_path: Path) -> None:
    fitted("vote").save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"parts": "many"}))
    with pytest.raises(ModelError, match=r"the saved detector cannot be read \(ValueError: .*Train it again"):
        load(tmp_path)


def test_where_flows_are_judged_other_columns_are_left_out(fitted: Any, tmp_path: Path) -> None:
    fitted("forest").save(tmp_path)
    loaded, (flows, _) = load(tmp_path), rows(30)
    more = flows.with_columns(src=pl.lit("10.0.0.1"))
    with pytest.raises(InputError, match="not trained on: 'src'"):
        loaded.predict(more)
    loaded.encoding.lenient = True
    np.testing.assert_array_equal(loaded.predict(more), loaded.predict(flows))
    with pytest.raises(InputError, match="lacks columns it was trained on: 'bytes'"):
        loaded.predict(more.drop("bytes"))
    with pytest.raises(InputError, match="learnt another table than the flows of captures"):
        load_detector(str(tmp_path))


def test_autogluon_says_that_it_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="pickle"):
        make("autogluon").save(tmp_path)


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingPart, match=r"pip install 'wirespeak\[baselines\]'"):
        make("forest").fit(*rows(30))


def test_a_detector_learns_what_a_dataset_lets_it_see() -> None:
    flows, labels = rows(120)
    roles: dict[str, Any] = {"service": "port"}
    fields = {
        name: Field(name, "category" if name == "service" else "number", roles.get(name, "feature"))
        for name in flows.columns
    }
    said = pl.Series(labels)
    category = said.replace({"flood": "attack", "scan": "attack", "rare": "attack", "single": "attack"})
    dataset = Dataset("lab", "Lab", "flow", fields, flows, said, category, said)
    learnt: Any = learn(dataset, answer="multiclass", effort=0.1, mixed=10, threads=1)
    assert learnt.labels == ("attack", "normal")
    assert [column.name for column in learnt.encoding.columns] == ["bytes", "flows", "nothing", "urgent"]
    # The members learnt the names, and answer for the labels.
    assert "attack\tflood" in learnt.parts[0].labels
    np.testing.assert_allclose(learnt.predict(flows.drop("service")).sum(axis=1), 1, atol=1e-5)


def test_places_keep_sizes_that_float32_rounds() -> None:
    sizes = pl.DataFrame({"bytes": [16_777_216, 16_777_217, 16_777_218]})
    ranks = Encoding.learn(sizes).ranks(sizes)[:, 0]
    assert len(set(ranks)) == 3 and (np.diff(ranks) > 0).all()


def test_a_shift_makes_the_online_detector_forget() -> None:
    rng = np.random.default_rng(0)
    size = rng.normal(size=4_000)
    hostile = (size > 0) ^ (np.arange(4_000) >= 2_000)
    labels = np.where(hostile, "flood", "normal").tolist()
    detector: Any = make("online", block=200, trees=10, threads=1).fit(pl.DataFrame({"bytes": size}), labels)
    assert detector.drifts and 1_600 < detector.drifts[0] < 2_400
    recent = detector.predict(pl.DataFrame({"bytes": [-2.0, 2.0]}))
    assert [detector.labels[place] for place in recent.argmax(axis=1)] == ["flood", "normal"]


def test_inner_folds_leave_whole_names_out_and_split_no_group() -> None:
    names = np.array(["normal"] * 30 + ["neptune"] * 20 + ["smurf"] * 10 + ["nmap"] * 5)
    codes = np.array([1] * 30 + [0] * 30 + [2] * 5)
    groups = np.arange(65) // 2
    unseen = set()
    for known, measured in inner_folds(codes, names, groups, 1, count=3, seed=0):
        unseen |= set(names[measured]) - set(names[known])
        assert not set(known) & set(measured)
    assert unseen == {"neptune", "smurf"}
    kept = names[thinned(names, 30, 0)]
    assert len(kept) <= 30 and (kept == "nmap").sum() == 5


def test_a_prior_raises_rare_labels_as_far_as_it_helps() -> None:
    prior = Prior((0.9, 0.1), ordinary=0)
    chances = np.array([[0.6, 0.4]] * 10 + [[0.9, 0.1]] * 90)
    truth = np.array([1] * 10 + [0] * 90)
    chosen = prior.chosen(chances, truth, np.ones(100))
    assert (chosen.correct(chances).argmax(axis=1) == truth).all()
    assert prior.chosen(chances, np.zeros(100, np.int64), np.ones(100)) == prior


def test_few_of_equal_rows_are_learnt_shared_among_their_labels() -> None:
    flows = pl.DataFrame({"bytes": [1, 1, 1, 1, 2, 2, None, None, *[3] * 1000]})
    labels = np.array([0, 0, 0, 1, 0, 1, 0, 0, *[0] * 999, 1])
    assert thinned_copies(flows, labels).tolist() == [0, 0, 3, 4, 5, 6, 6, *[8] * 11]
