"""The study of length: equal FLOPs, chains counted, and a run that writes it all."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.sources.strings import draw_pairs
from experiments.studies.seq2seq_length import speed
from experiments.studies.seq2seq_length import study as seq2seq_length
from experiments.studies.seq2seq_length.study import Settings
from models import RNNConfig

TINY = Settings(
    n_symbols=3,
    cell="gru",
    d_model=24,
    train_length=3,
    test_lengths=(1, 3, 5),
    n_steps=250,
    lr=1e-2,
    n_seeds=2,
    n_test=20,
    map_length=3,
    map_steps=2,
    speed_d_model=32,
    speed_lengths=(4,),
    step_tokens=16,
    repeats=1,
)


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


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, seq2seq_length.run(TINY, folder)


@pytest.mark.slow
def test_a_run_writes_tables_and_figures_that_agree(study):
    folder, results = study
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    accuracy, speed = pd.read_csv(folder / "accuracy.csv"), pd.read_csv(folder / "speed.csv")
    assert len(accuracy) == 2 * 2 * 3 and len(speed) == 2
    assert set(accuracy.loc[accuracy["trained_on"], "length"]) == {1, 3}
    means = accuracy.groupby(["network", "length"])["token_accuracy"].mean()
    for row in results["accuracy"]:
        if row["measure"] == "token_accuracy":
            assert row["mean"] == pytest.approx(means[row["network"], row["length"]])
            assert 0 <= row["lo"] <= row["mean"] <= row["hi"] <= 1
    assert (accuracy["sequence_accuracy"] <= accuracy["token_accuracy"] + 1e-9).all()
    assert (speed["lo"] <= speed["seconds"]).all() and (speed["lo"] > 0).all()
    for name in ("accuracy", "speed", "alignment", "attention"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert seq2seq_length.last_words(results).count("\n") == 5


@pytest.mark.slow
def test_the_rnn_with_attention_learns_to_reverse(study):
    accuracy = pd.read_csv(study[0] / "accuracy.csv")
    learnt = accuracy[(accuracy["network"] == "with attention") & (accuracy["length"] == 3)]
    assert (learnt["token_accuracy"] > 0.8).all()  # chance is a third


def test_greedy_decoding_feeds_back_what_it_writes():
    """Against the full forward pass on its own output: each symbol is the likeliest after those before."""
    model = models.build(seq2seq_length.rnn_config(TINY, True))
    params = jax.jit(model.init)(jax.random.key(0))
    pairs = draw_pairs(jax.random.key(1), "reverse", jnp.array([2, 4]), 4, TINY.n_symbols)
    written_BS = jax.jit(functools.partial(seq2seq_length.decode_greedily, model))(params, pairs)
    inputs_BS = jnp.pad(written_BS, ((0, 0), (1, 0)))[:, :-1]
    source = {"source_BS": pairs.source_BS, "source_mask_BS": pairs.mask_BS}
    logits_BSV = jax.jit(model.apply)(params, inputs_BS, **source)
    np.testing.assert_array_equal(logits_BSV.argmax(axis=-1), written_BS)


def test_wrong_arguments_are_named(capsys):
    assert seq2seq_length.main(["seq2seq_length", "--set", "n_stepz=3", "--out", "x"]) == 2
    assert "did you mean 'n_steps'?" in capsys.readouterr().err
    assert seq2seq_length.main(["seq2seq_length"]) == 2
