"""What a decoder learns of a number holds for those near it, though it never saw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wirespeak.text import Example

torch = pytest.importorskip("torch", reason="needs the train extra")

from wirespeak.lm.onnx import OnnxLanguageModel  # noqa: E402
from wirespeak.lm.order import keep_order, numbers_of, put_in_order  # noqa: E402
from wirespeak.lm.tokenizer import word_tokenizer  # noqa: E402

WORDS = ["aaJ1.46", "aaJ1.46", "aaJ2", "aaI9", "aa-J2", "ab:tcp", "abJ2"]


def test_numbers_are_known_by_column_sign_and_size() -> None:
    tokenizer = word_tokenizer(dict.fromkeys(WORDS, 200), answers=[" yes"], whole=100)
    found = {column.column: column for column in numbers_of(tokenizer)}
    assert found.keys() == {"aa", "aa-", "ab", "."}
    said = [tokenizer.id_to_token(int(token)) for token in found["aa"].ids]
    sizes = dict(zip(said, found["aa"].sizes, strict=True))
    assert sizes.keys() == {" aaJ1.46", " aaJ1", " aaJ2", " aaI9"}
    np.testing.assert_allclose(
        [sizes[" aaI9"], sizes[" aaJ1.46"], sizes[" aaJ2"]], np.log10([0.9, 1.46, 2]), atol=1e-9
    )
    assert len(found["."].ids) == 110 and found["."].sizes.max() < 1


def test_what_is_near_begins_alike_and_hears_of_each_other() -> None:
    tokenizer = word_tokenizer({f"aa{decade}{n}": 2 for decade in "IJKLMN" for n in range(1, 10)}, answers=[])
    columns = numbers_of(tokenizer)
    place = {tokenizer.id_to_token(int(token)): token for column in columns for token in column.ids}
    table = torch.nn.Parameter(torch.zeros(tokenizer.get_vocab_size(), 256))
    put_in_order(table, columns, 0.3)

    def alike(one: str, other: str) -> float:
        rows = table.detach()[[place[one], place[other]]]
        return float(torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0))

    assert alike(" aaK4", " aaK5") > 0.9 > alike(" aaK4", " aaL4") > alike(" aaK4", " aaN4")
    assert 0.015 < table.detach()[columns[0].ids].std() < 0.025

    hook = keep_order(table, columns, 0.3)
    (table[place[" aaK4"]].sum() + table[0].sum()).backward()
    heard = table.grad[:, 0]
    assert heard[place[" aaK4"]] > heard[place[" aaK5"]] > heard[place[" aaL1"]] > heard[place[" aaN4"]]
    assert heard[0] == 1 and not heard[1:4].any()
    table.grad = None
    hook.remove()
    table[place[" aaK4"]].sum().backward()
    assert int((table.grad[:, 0] != 0).sum()) == 1


@pytest.mark.slow
def test_numbers_never_seen_are_judged_like_their_neighbours(tmp_path: Path) -> None:
    from wirespeak.lm.export import export_onnx
    from wirespeak.lm.training import Schedule, Shape, Task, train_decoder

    words = [f"aa{decade}{n}" for decade in "JKLMN" for n in range(1, 10)]
    tokenizer = word_tokenizer(
        dict.fromkeys(words, 2), answers=[" small", " large"], words=["judge", " label"]
    )

    def examples(some: list[str]) -> list[Example]:
        large = words.index("aaL5")
        return [
            Example(f"judge {word} label", [" small", " large"][words.index(word) > large], 1.0)
            for word in some
        ]

    def right(order: float) -> float:
        folder = tmp_path / str(order)
        schedule = Schedule(steps=150, tokens=200, rate=1e-3, warmup=10, order=order)
        train_decoder(
            [Task("judge", examples(words[::3]), 1.0)], tokenizer, folder / "checkpoint",
            shape=Shape(32, 1, 2, 64), schedule=schedule, threads=1, device="cpu",
        )  # fmt: skip
        export_onnx(folder / "checkpoint", folder / "model.onnx", precision="fp32")
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "card.json").write_text("{}")
        unseen = examples([word for number, word in enumerate(words) if number % 3])
        said = OnnxLanguageModel(folder, threads=1).choose(
            [example.prompt for example in unseen], [" small", " large"]
        )
        return float(
            np.mean(
                [
                    bool(best) == (example.answer == " large")
                    for best, example in zip(said.argmax(1), unseen, strict=True)
                ]
            )
        )

    assert right(order=0.3) > 0.9 > right(order=0.0)
