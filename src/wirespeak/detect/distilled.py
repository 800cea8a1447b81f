"""A tree ensemble that imitates another detector: for the plain cases, fifty times faster than a language model.

It learns the teacher's probabilities, not its labels alone (Hinton, Vinyals and Dean, "Distilling the knowledge in a
neural network", 2015), by gradient boosting with their cross-entropy as loss (LightGBM; Ke et al. 2017). What is kept
is one ONNX file (`ai.onnx.ml` TreeEnsembleRegressor, softmax inside) and a JSON file that says how a column becomes a
number, so that judging needs numpy, polars and onnxruntime alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wirespeak.detect.table import texts
from wirespeak.errors import InputError, ModelError, missing_extra

FILES = ("tree.onnx", "tree.json")

Chances = NDArray[np.float32]

# A number nobody measured lies below every other; the largest of float32 stand for infinity.
_NOTHING, _FAR = -3.4e38, 3.3e38


@dataclass(frozen=True)
class Column:
    """How a column becomes one number: itself, or the place of its text among `categories`, most frequent first."""

    name: str
    categories: tuple[str, ...] | None = None


class Distilled:
    """Keeps contracts.Detector. rounds, leaves, rate: of the boosting; a round is one tree for each label."""

    name = "distilled"

    def __init__(self, *, rounds: int = 50, leaves: int = 31, rate: float = 0.18, threads: int = 1) -> None:
        self.rounds, self.leaves, self.rate, self.threads = rounds, leaves, rate, threads
        self.labels: tuple[str, ...] = ()
        self.columns: tuple[Column, ...] = ()
        self._model = b""
        self._session: Any = None

    def fit(self, flows: pl.DataFrame, labels: Sequence[str], *, seed: int = 0) -> Distilled:
        """Learn from labels, as from a teacher who is always sure."""
        names = tuple(sorted(set(labels)))
        codes = pl.Series(list(labels)).replace_strict(names, range(len(names)), return_dtype=pl.Int64)
        return self.imitate(flows, np.eye(len(names), dtype=np.float32)[codes.to_numpy()], names, seed=seed)

    def imitate(
        self,
        flows: pl.DataFrame,
        chances: Chances,
        labels: Sequence[str],
        *,
        weights: NDArray[np.float64] | None = None,
        seed: int = 0,
    ) -> Distilled:
        """Learn the probabilities [rows, labels] that a teacher gave these rows. Needs the extra `baselines`.

        weights: how much each row counts. Rows without a usable answer (NaN) teach nothing. Raises InputError where
        rows and answers do not fit.
        """
        if chances.shape != (len(flows), len(labels)):
            raise InputError(
                f"{len(flows)} rows of {len(labels)} labels came with answers of shape {chances.shape}; a teacher gives [rows, labels]."
            )
        answered = np.isfinite(chances).all(axis=1)
        if len(labels) < 2 or not answered.any():
            raise InputError(
                f"{int(answered.sum())} rows with an answer among {len(labels)} labels teach nothing. Give rows that the teacher can judge."
            )
        self.labels = tuple(labels)
        self.columns = tuple(_learn(flows[name]) for name in flows.columns)
        weigh = np.ones(len(flows)) if weights is None else weights
        trees, base = _boosted(
            self.encode(flows)[answered], chances[answered].astype(np.float64), weigh[answered],
            rounds=self.rounds, leaves=self.leaves, rate=self.rate, seed=seed, threads=self.threads,
        )  # fmt: skip
        self._start(_onnx(trees, base, len(self.columns)))
        return self

    def encode(self, flows: pl.DataFrame) -> NDArray[np.float32]:
        """The table as float32 [rows, columns]. Raises InputError naming columns that are lacking."""
        lacking = [column.name for column in self.columns if column.name not in flows.columns]
        if lacking:
            raise InputError(
                f"the table lacks {len(lacking)} columns the tree was taught on, {', '.join(lacking[:4])} first. Give it the columns of its tree.json."
            )
        told = [_encoded(column, flows.schema[column.name]) for column in self.columns]
        return np.ascontiguousarray(flows.select(told).to_numpy())

    def predict(self, flows: pl.DataFrame) -> Chances:
        """Probabilities as the teacher would give them, float32 [rows, labels]; each row's depend on it alone."""
        if self._session is None:
            raise InputError("the tree has been taught nothing yet. Call imitate, or load a saved one.")
        if flows.is_empty():
            return np.zeros((0, len(self.labels)), np.float32)
        return np.asarray(self._session.run(None, {"rows": self.encode(flows)})[0], np.float32)

    def save(self, folder: Path) -> None:
        """Write tree.onnx and tree.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        columns = {column.name: column.categories for column in self.columns}
        text = json.dumps({"labels": self.labels, "columns": columns}, indent=1, ensure_ascii=False)
        (folder / "tree.json").write_text(text + "\n", encoding="utf-8")
        (folder / "tree.onnx").write_bytes(self._model)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Distilled:
        """What `save` wrote. Raises ModelError where it is missing or damaged."""
        found = cls(threads=threads)
        try:
            known = json.loads((folder / "tree.json").read_text(encoding="utf-8"))
            found.labels = tuple(str(label) for label in known["labels"])
            found.columns = tuple(
                Column(name, None if categories is None else tuple(categories))
                for name, categories in known["columns"].items()
            )
            found._start((folder / "tree.onnx").read_bytes())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{folder}: its {' and '.join(FILES)} cannot be read ({error}). Make the cascade again."
            ) from error
        return found

    def _start(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self.threads, 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises kinds of its own, which share no public base
            raise ValueError(f"tree.onnx is no model: {str(error).splitlines()[0][:200]}") from error
        outputs = session.get_outputs()[0].shape
        if outputs[-1] != len(self.labels) or session.get_inputs()[0].shape[-1] != len(self.columns):
            raise ValueError("tree.onnx and tree.json do not belong together")
        self._model, self._session = model, session


def _learn(series: pl.Series) -> Column:
    if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        return Column(series.name)
    return Column(series.name, texts(series))


def _encoded(column: Column, held: pl.DataType) -> pl.Expr:
    told = pl.col(column.name)
    if column.categories is None:
        if not (held.is_numeric() or held in (pl.Boolean, pl.Null)):
            raise InputError(
                f"column '{column.name}' holds {held}, expected numbers as when the tree was taught."
            )
        told = told.cast(pl.Float32)
        return (told.clip(-_FAR, _FAR).fill_nan(_NOTHING) if held.is_float() else told).fill_null(_NOTHING)
    known = pl.Series([*column.categories, None], dtype=pl.String)
    places = pl.Series([*range(len(column.categories)), -1], dtype=pl.Float32)
    return told.cast(pl.String).replace_strict(
        known, places, default=float(len(column.categories)), return_dtype=pl.Float32
    )


def _boosted(
    rows: NDArray[np.float32],
    taught: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    rounds: int,
    leaves: int,
    rate: float,
    seed: int,
    threads: int,
) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Trees, those of a round in the order of the labels, and the score of each label before any tree."""
    try:
        import lightgbm
    except ImportError as error:
        raise missing_extra("lightgbm", "baselines") from error
    count = taught.shape[1]
    prior = np.average(taught, axis=0, weights=weights)
    base = np.log(np.maximum(prior, 1e-6))

    def slopes(scores: NDArray[np.float64], _: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        curvature = count / (count - 1) * chances * (1 - chances)
        return (chances - taught) * weights[:, None], np.maximum(curvature, 1e-6) * weights[:, None]

    settings = {
        "objective": slopes, "num_class": count, "learning_rate": rate, "num_leaves": leaves, "lambda_l2": 1.0,
        "min_data_in_leaf": 5, "max_bin": 511, "min_data_in_bin": 1, "feature_fraction": 0.6, "use_missing": False,
        "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": threads, "verbosity": -1,
    }  # fmt: skip
    table = lightgbm.Dataset(rows, np.zeros(len(rows)), init_score=np.tile(base, (len(rows), 1)))
    booster = lightgbm.train(settings, table, rounds)
    return [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]], base


def _onnx(trees: Sequence[dict[str, Any]], base: NDArray[np.float64], columns: int) -> bytes:
    """The trees as one TreeEnsembleRegressor, tree i for label i modulo their number."""
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise missing_extra("onnx", "train") from error
    nodes: list[tuple[Any, ...]] = []
    ends: list[tuple[Any, ...]] = []
    for number, tree in enumerate(trees):
        _flatten(tree, number, number % len(base), nodes, ends)
    tree_ids, node_ids, modes, features, values, yes, no = zip(*nodes, strict=True)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["chances"], domain="ai.onnx.ml", n_targets=len(base),
        aggregate_function="SUM", post_transform="SOFTMAX", base_values=base.tolist(), nodes_treeids=tree_ids,
        nodes_nodeids=node_ids, nodes_modes=modes, nodes_featureids=features, nodes_values=values,
        nodes_truenodeids=yes, nodes_falsenodeids=no, nodes_hitrates=[1.0] * len(nodes),
        nodes_missing_value_tracks_true=[0] * len(nodes),
        **dict(zip(("target_treeids", "target_nodeids", "target_ids", "target_weights"), zip(*ends, strict=True), strict=True)),
    )  # fmt: skip
    graph = helper.make_graph(
        [ensemble], "distilled",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("chances", TensorProto.FLOAT, [None, len(base)])],
    )  # fmt: skip
    versions = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=9, producer_name="wirespeak")
    return bytes(model.SerializeToString(deterministic=True))


def _flatten(
    node: dict[str, Any], tree: int, label: int, nodes: list[tuple[Any, ...]], ends: list[tuple[Any, ...]]
) -> None:
    """Append the nodes of one tree in preorder, and what its leaves add to the score of `label`."""
    number = 0

    def walk(node: dict[str, Any]) -> int:
        nonlocal number
        mine, number = number, number + 1
        if "split_feature" not in node:
            nodes.append((tree, mine, "LEAF", 0, 0.0, 0, 0))
            ends.append((tree, mine, label, node["leaf_value"]))
            return mine
        place = len(nodes)
        nodes.append(())
        left, right = walk(node["left_child"]), walk(node["right_child"])
        cut = _below(node["threshold"])
        nodes[place] = (tree, mine, "BRANCH_LEQ", node["split_feature"], cut, left, right)
        return mine

    walk(node)


def _below(threshold: float) -> float:
    """The largest float32 that is not above `threshold`: no float32 lies between them, so it cuts alike."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
