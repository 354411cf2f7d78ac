"""The benchmark counts right, takes turns and tells what it found. Nothing here depends on how long anything takes."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import corpora, decoding, ours, products
from benchmarks.cells import ConcatenatedGRU, ConcatenatedLSTM
from benchmarks.kit import Kit, KitError, find, phase
from benchmarks.products import Product, matmul
from benchmarks.table import Table
from benchmarks.timing import Rounds
from benchmarks.torch_client import TorchError, TorchWorker
from seq2seq import GRU, LSTM, ChoGRU, EncoderDecoder, EncoderDecoderConfig, scan
from seq2seq.core.cost import product_flops
from seq2seq.data import Batch, Dataset, Tokenizer
from seq2seq.nn import loss
from seq2seq.nn.cells import LSTMState

ROOT = Path(__file__).parents[1]
TORCH = Path(os.environ.get("BENCH_TORCH", ROOT / ".bench" / "torch" / "bin" / "python"))


FILES = [path for path in (ROOT / "benchmarks").rglob("*.py") if ">>>" in path.read_text("utf-8")]
DOCUMENTED = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(FILES)]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "product",
    [
        matmul(2, 3, 4),
        Product((5, 2, 3), (7, 3), (((2,), (1,)), ((), ()))),
        Product((9, 8, 5), (9, 8, 6), (((0, 1), (0, 1)), ((), ()))),
        Product((8, 5), (8, 9, 5), (((1,), (2,)), ((0,), (0,)))),
        Product((8, 5), (6,), (((), ()), ((), ()))),
        matmul(2, 3, 4, ("int8", "int8", "int32")),
    ],
    ids=str,
)
def test_a_product_is_what_the_program_made(product: Product) -> None:
    def f(left: Any, right: Any) -> Any:
        return jax.lax.dot_general(left, right, product.axes, preferred_element_type=product.types[2])

    operands = [jnp.ones(shape, kind) for shape, kind in zip(product[:2], product.types[:2], strict=True)]
    assert products.products(f, *operands) == {product: 1}
    assert product.flops == product_flops(f, *operands)
    made = product.program()()
    assert made.shape == f(*operands).shape and str(made.dtype) == product.types[2]
    assert np.isfinite(np.asarray(made, float)).all()


def test_loops_multiply_and_what_nothing_reads_does_not_count() -> None:
    u, v = jnp.ones((4, 4)), jnp.ones((4, 6))

    def inner(h: Any, x: Any) -> Any:
        return jax.jit(jnp.matmul)(h, u) + x, h @ v  # of the second, only the outer loop knows that nobody reads it

    def outer(h: Any, xs: Any) -> Any:
        h, unread = jax.lax.scan(inner, h, xs)
        return h, unread.sum()

    def program(xs: Any, read: bool) -> Any:
        h, sums = jax.lax.scan(outer, jnp.ones((3, 4)), xs)
        return (h @ v, sums) if read else h

    xs = jnp.ones((5, 7, 3, 4))
    assert products.products(lambda xs: program(xs, True), xs) == {matmul(3, 4, 4): 35, matmul(3, 4, 6): 36}
    assert products.products(lambda xs: program(xs, False), xs) == {matmul(3, 4, 4): 35}


def test_the_gradient_of_a_layer() -> None:
    steps, batch, width, hidden = 6, 2, 3, 4
    cell = GRU.init(jax.random.key(0), width, hidden)
    xs = jnp.ones((steps, batch, width))

    def counted(loop: Callable[..., Any]) -> dict[Product, int]:
        def total(cell: GRU) -> Any:
            return loop(cell.step, cell.initial_state(batch), xs)[1].sum()

        return products.products(jax.grad(total), cell)

    state = matmul(batch, hidden, 3 * hidden)
    assert counted(jax.lax.scan)[state] == counted(scan)[state] == steps
    # Forward, and backward to weights and state; nothing is made for the inputs, which need no gradient.
    assert products.flops(counted(scan)) == steps * (3 * state.flops + 2 * matmul(batch, width, 3 * hidden).flops)


def tiny_model() -> EncoderDecoder:
    """Its shapes alone: nothing needs to be computed."""
    config = EncoderDecoderConfig(cell=LSTM, hidden=6, embedding=5, attention="additive", dropout=0.0)
    return jax.eval_shape(lambda: EncoderDecoder.init(jax.random.key(0), 11, 13, config))


def batch_of(source: int, target: int, rows: int) -> Batch:
    ids, out = np.full((source, rows), 4, np.int32), np.full((target, rows), 4, np.int32)
    return Batch(ids, np.full(rows, source, np.int32), out, out, np.ones((target, rows), np.float32))


@pytest.mark.parametrize("block", [loss._BLOCK, 13 * 3 * 2])  # in one block, and in four
def test_an_update_makes_only_the_necessary_operations(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_BLOCK", block)
    model, batch = tiny_model(), batch_of(7, 8, 3)
    whole = products.products(ours.gradient(batch), model)
    assert products.flops(whole) == ours.necessary_flops(model, np.array([[7, 8]] * 3))


def test_necessary_operations_leave_recomputation_out() -> None:
    def forward(w: Any) -> Any:
        return jnp.sin(jnp.sin(jnp.ones((2, 3)) @ w) @ w).sum()

    w = jnp.ones((3, 3))
    again = products.products(jax.value_and_grad(jax.checkpoint(forward)), w)
    pure = products.without_recomputation(again, products.products(forward, w))
    once = products.products(jax.value_and_grad(forward), w)
    assert products.flops(again) > products.flops(pure) == products.flops(once)


def test_medians_of_rounds() -> None:
    rounds = Rounds({"ours": [1.0, 10.0, 2.0], "theirs": [3.0, 20.0, 5.0]})
    assert rounds.median("ours") == 2.0
    assert rounds.ratio("theirs", "ours") == 2.5  # of 3, 2 and 2.5, whatever disturbed the second round


def test_naive_cells_are_the_cells_of_the_papers() -> None:
    x, h, c = jnp.split(jax.random.normal(jax.random.key(1), (2, 11)), (3, 7), axis=1)
    lstm = ConcatenatedLSTM.init(jax.random.key(0), 3, 4)
    same = LSTM(w=lstm.w[:3], u=lstm.w[3:], b=lstm.b)
    gru = ConcatenatedGRU.init(jax.random.key(0), 3, 4)
    cho = ChoGRU(w=jnp.hstack([gru.w[:3], gru.v[:3]]), u=gru.w[3:], u_n=gru.v[3:], b=gru.b)
    for found, wanted in (
        (lstm.step((h, c), x), same.step(LSTMState(h, c), x)),
        (gru.step(h, x), cho.step(h, x)),
    ):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_tokens_are_those_of_the_files() -> None:
    pairs = corpora.made_up("g2p", 700, ([f"s{n}" for n in range(26)], [f"t{n}" for n in range(39)]))
    assert np.mean([len(a) for a, _ in pairs]) == pytest.approx(7.40, rel=0.05)
    assert np.mean([len(b) for _, b in pairs]) == pytest.approx(6.32, rel=0.05)
    lines = [(" ".join(a), " ".join(b)) for a, b in pairs]
    sides = [Tokenizer.train("symbols", side) for side in zip(*lines, strict=True)]
    batches = ours._batches(Dataset.build(lines, *sides), 5)
    epoch = list(batches.epoch(0))
    assert ours.tokens(epoch) == sum(len(a) + len(b) for a, b in pairs)
    assert ours.pairs(epoch) == 700


def test_files_come_back_and_can_be_cut(tmp_path: Path) -> None:
    pairs = [(["a", "b"], ["X"]), (["b"], ["Y", "X"]), (["a"], ["Y"])]
    types = (["a", "b"], ["X", "Y"])
    assert "g2p/test.src" in corpora.lacking(tmp_path, "g2p")
    corpora.write(tmp_path / "g2p", dict.fromkeys(("train", "dev", "test"), pairs), types)
    assert not corpora.lacking(tmp_path, "g2p")
    few = corpora.cut(tmp_path, "g2p", tmp_path / "few", dev=1, test=2) / "g2p"
    assert [corpora.read_tsv(few / f"{split}.tsv") for split in ("train", "dev", "test")] == [
        pairs,
        pairs[:1],
        pairs[:2],
    ]
    assert (few / "test.src").read_text().splitlines() == ["a b", "b"]
    assert corpora.read_types(few / "vocab.tgt") == types[1]


def test_every_plain_search_is_measured() -> None:
    assert {"greedy", "beam 5"} <= decoding.variants(64).keys()
    assert all(found.batch == 1 for found in decoding.variants(1).values())


def test_the_table_lines_up_and_says_the_same_in_json() -> None:
    rows = [("GRU", {"ours ms": 12.345, "torch/ours": None}), ("LSTM", {"ours ms": 12345.6, "torch/ours": 0.5})]
    text, lines = io.StringIO(), io.StringIO()
    for table in (Table(False, text), Table(True, lines)):
        for what, values in rows:
            table.row("layers", what, values)
        table.row("start", "update", {"cold s": 1.0})
        table.note("start", "no torch")
    heading, first, second, _, other, _, note = text.getvalue().strip().splitlines()
    assert len(heading) == len(first) == len(second) and other.startswith("start ")
    assert first.split() == ["GRU", "12.3", "-"] and second.split() == ["LSTM", "12,346", "0.500"]
    assert note == "start: no torch"
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert found[0] == {"part": "layers", "what": "GRU", "ours ms": 12.345, "torch/ours": None}
    assert found[-1] == {"part": "start", "note": "no torch"}


def fake_kit(folder: Path, script: str) -> Kit:
    (folder / "torch" / "bin").mkdir(parents=True)
    (folder / "torch" / "bin" / "python").write_text(f"#!/bin/sh\n{script}")
    (folder / "torch" / "bin" / "python").chmod(0o755)
    (folder / "run_torch.py").touch()
    kit, why = find(folder, None, folder / "torch" / "bin" / "python", folder)
    assert kit is not None, why
    return kit


def test_a_peer_tells_or_fails(tmp_path: Path) -> None:
    kit = fake_kit(tmp_path / "good", 'echo noise; echo "RESULT {\\"what\\": \\"train\\", \\"options\\": \\"$4 $6\\"}"')
    assert kit.names == ["torch"]
    result = phase(kit.run("torch", tmp_path, "g2p", "--updates", 6), "train")
    assert result["options"] == "g2p 6"
    with pytest.raises(KitError, match="decode-test with beam 5"):
        phase([result], "decode-test", 5)
    with pytest.raises(KitError, match="no module"):
        fake_kit(tmp_path / "bad", "echo no module >&2; exit 1").run("torch", tmp_path, "g2p")
    assert find(None, None, None, tmp_path)[0] is None
    assert "--peers" in find(tmp_path / "good", None, None, tmp_path)[1]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="this Python has torch")
def test_a_python_without_torch_is_refused() -> None:
    with pytest.raises(TorchError, match="has ended"):
        TorchWorker(Path(sys.executable))


@pytest.mark.skipif(not TORCH.exists(), reason="no environment with torch: make bench makes it")
def test_torch_answers() -> None:
    shape = {"time": 3, "batch": 2, "input": 4, "hidden": 5}
    with TorchWorker(TORCH) as worker:
        assert worker.version
        for cell in ("GRU", "LSTM"):
            assert worker.layer(cell, "float32", shape)() > 0
        with pytest.raises(TorchError, match="no request is called 'dance'"):
            worker.ask({"what": "dance"})
        assert worker.layer("GRU", "float32", shape)() > 0  # an error ends nothing
