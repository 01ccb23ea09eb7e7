"""The study of length: equal FLOPs, chains counted, and a study that writes it all."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.sources import strings
from experiments.data_configs import DataConfig
from experiments.studies import load_study
from experiments.studies.seq2seq_length import speed
from experiments.studies.seq2seq_length import study as seq2seq_length
from models import RNNConfig
from scaling.table.runs import Runs
from tests.tiny_run import isoflop

TINY = [
    "n_symbols=3", "cell=gru", "d_model=24", "train_length=3", "test_lengths=[1,3,5]", "n_steps=250",
    "lr=1e-2", "n_seeds=2", "n_test=20", "map_length=3", "map_steps=2", "speed_d_model=32",
    "speed_lengths=[4]", "step_tokens=16", "repeats=1", "n_val_tokens=512",
]  # fmt: skip


def settings() -> seq2seq_length.Settings:
    return load_study("seq2seq_length", TINY).settings


@pytest.mark.parametrize("length", [8, 256])
def test_the_networks_that_race_have_equal_flops(length):
    rnn = RNNConfig(27, 64, 2, cell="lstm")
    flops = [
        models.count(config).flops_per_token(2 * length)
        for config in (rnn, speed.equal_transformer(rnn, length))
    ]
    assert abs(flops[1] / flops[0] - 1) < 0.01


def test_lengths_at_which_flops_cannot_be_equal_are_refused():
    with pytest.raises(ValueError, match="length 5000"):
        speed.equal_transformer(RNNConfig(27, 64, 2), 5000)


def test_products_in_line_are_those_of_a_chain_made_by_hand():
    def chain(x, w):
        x, _ = jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)
        return jax.jit(lambda x: (x @ w) @ w)(x) + (w @ w)[0]  # 5 + 2, and 1 beside them

    program = jax.make_jaxpr(chain)(jnp.ones(3), jnp.ones((3, 3))).jaxpr
    assert max(speed._depths(program, [0, 0])) == 7


def test_only_the_rnn_waits_longer_for_longer_rows():
    """Forward and backward, a product a token, layer and side: 2 · 2 · 2 more for every token of a side."""
    rnn = RNNConfig(27, 32, 2)
    chains = [speed.products_in_line(rnn, length) for length in (4, 9)]
    assert chains[1] - chains[0] == 8 * 5
    transformer = speed.equal_transformer(rnn, 4)
    chains = [speed.products_in_line(transformer, length) for length in (4, 9)]
    assert chains[1] == chains[0] < 40


def test_intervals_are_students():
    table = pd.DataFrame({"network": "a", "length": 3, "token_accuracy": [0.2, 0.4, 0.6]})
    row = seq2seq_length.summarize(table.assign(sequence_accuracy=1.0)).iloc[0]
    reach = 2.919986 * 0.2 / 3**0.5  # the 95th percentile of t with two degrees of freedom
    np.testing.assert_allclose(
        [row["mean"], row["lo"], row["hi"]], [0.4, 0.4 - reach, 0.4 + reach], atol=1e-6
    )


def test_greedy_decoding_feeds_back_what_it_writes():
    """Against the full forward pass on its own output: each symbol is the likeliest after those before."""
    model = models.build(seq2seq_length.rnn(settings(), True))
    params = jax.jit(model.init)(jax.random.key(0))
    source_BS = seq2seq_length.encode_sources(["ab", "abca"])
    decode = jax.jit(functools.partial(seq2seq_length.decode_greedily, model), static_argnums=2)
    written_BT = decode(params, source_BS, 4)
    start = seq2seq_length.encode([strings.START] * 2)
    inputs_BT = jnp.concatenate([start, written_BT[:, :-1]], axis=1)
    logits_BTV = jax.jit(model.apply)(params, inputs_BT, source_BS=source_BS)
    np.testing.assert_array_equal(logits_BTV.argmax(axis=-1), written_BT)


def test_blanks_before_a_source_are_not_read():
    """A source says the same in a field of any width: with and without a mask, and alone."""
    model = models.build(seq2seq_length.rnn(settings(), True))
    params = jax.jit(model.init)(jax.random.key(0))
    padded_BS = seq2seq_length.encode_sources(["ab", "abcab"])
    inputs_BT = seq2seq_length.encode([strings.START + "ba"] * 2)
    apply = jax.jit(model.apply)
    logits_BTV = apply(params, inputs_BT, source_BS=padded_BS)
    alone_1TV = apply(params, inputs_BT[:1], source_BS=padded_BS[:1, -2:])
    np.testing.assert_allclose(logits_BTV[0], alone_1TV[0], rtol=1e-5, atol=1e-6)
    mask_BS = np.array([[False] * 3 + [True] * 2, [True] * 5])
    masked_BTV = apply(params, inputs_BT, source_BS=padded_BS, source_mask_BS=mask_BS)
    np.testing.assert_array_equal(logits_BTV, masked_BTV)


def test_every_network_is_a_run_of_its_own_on_whole_rows():
    data = DataConfig(task="strings", strings=settings().strings)
    configs = seq2seq_length.plan(settings(), data)
    assert len({config.run_id for config in configs}) == len(configs) == 2 * 2 + 1
    assert {config.seq_len for config in configs} == {2 * strings.width(settings().strings)}
    assert [(c.model.family, c.seed) for c in configs[1:]] == [
        ("rnn", 1), ("rnn", 0), ("rnn", 1), ("transformer", 0)
    ]  # fmt: skip
    assert len({config.pack_key for config in configs}) == 3  # seeds may train as one program


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_stepz=3", "did you mean 'n_steps'"),
        ("map_length=21", "1 to train_length=20"),
        ("test_lengths=[]", "lengths of 1 or more"),
        ("n_symbols=30", "1 to 26 letters"),
        ("n_steps=0", "n_tokens=0; it must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(override, message):
    with pytest.raises(ValueError, match=message):
        load_study("seq2seq_length", [override])


def check_results(folder) -> None:
    """The tables and figures of TINY agree."""
    results = json.loads((folder / "results.json").read_text())
    accuracy, timed = pd.read_csv(folder / "accuracy.csv"), pd.read_csv(folder / "speed.csv")
    assert len(accuracy) == 2 * 2 * 3 and len(timed) == 2
    assert set(accuracy.loc[accuracy["trained_on"], "length"]) == {1, 3}
    means = accuracy.groupby(["network", "length"])["token_accuracy"].mean()
    for row in results["accuracy"]:
        if row["measure"] == "token_accuracy":
            assert row["mean"] == pytest.approx(means[row["network"], row["length"]])
            assert 0 <= row["lo"] <= row["mean"] <= row["hi"] <= 1
    assert (accuracy["sequence_accuracy"] <= accuracy["token_accuracy"] + 1e-9).all()
    assert (timed["lo"] <= timed["seconds"]).all() and (timed["lo"] > 0).all()
    for name in ("accuracy", "speed", "alignment", "attention"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert seq2seq_length.conclusion(results).count("\n") == 5


@pytest.mark.slow
def test_untrained_networks_give_tables_and_figures_that_agree(tmp_path, monkeypatch):
    study = load_study("seq2seq_length", TINY)
    configs = seq2seq_length.plan(study.settings, DataConfig(task="strings", strings=settings().strings))
    made = {
        config.run_id: (config, jax.jit(models.build(config.model).init)(jax.random.key(config.seed)))
        for config in configs
    }
    monkeypatch.setattr(seq2seq_length, "load", lambda run: made[run.name])
    table = pd.DataFrame({"run_id": list(made), "status": "done"})
    words = study.finish(tmp_path, Runs(table))
    check_results(tmp_path)
    assert words == seq2seq_length.conclusion(json.loads((tmp_path / "results.json").read_text()))
    with pytest.raises(ValueError, match="no finished run"):
        study.finish(tmp_path, Runs(table.assign(status="diverged")))


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_the_whole_study_runs_and_the_rnn_with_attention_learns_to_reverse(tmp_path):
    flags = ["--workers=1", *(f"--set={override}" for override in TINY)]
    assert isoflop("study", "seq2seq_length", "--out", str(tmp_path / "out"), *flags) == 0
    check_results(tmp_path / "out")
    accuracy = pd.read_csv(tmp_path / "out" / "accuracy.csv")
    learnt = accuracy[(accuracy["network"] == "with attention") & (accuracy["length"] == 3)]
    assert (learnt["token_accuracy"] > 0.8).all()  # chance is a third
