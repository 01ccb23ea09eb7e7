"""Conventions: conversions by hand, and on public tables that give one model in several countings."""

import ast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.table.conventions import (
    COUNTS,
    UNITS,
    Architecture,
    applied,
    converted_loss,
    recounted,
)
from scaling.table.runs import check, read_runs

GPT2 = Architecture(d_model=768, n_layers=12, vocab_size=50257, seq_len=1024, tied=True)


def body_params(d_model, n_layers, d_ff=None, gated=False):
    """Matrices of a transformer's body; without `d_ff` 12 n_layers d_model² (Kaplan et al. 2020, table 1)."""
    d_ff = 4.0 * d_model if d_ff is None else d_ff
    return n_layers * (4.0 * d_model**2 + (3 if gated else 2) * d_model * d_ff)


def runs(**columns):
    table = pd.DataFrame({"n_params": [2e6, 4e6], "n_tokens": [4e7, 8e7], "loss": [3.0, 2.5]})
    return check(table.assign(**columns), {})


def test_gpt2_counted_by_hand():
    body = body_params(768, 12)
    assert body == 12 * 12 * 768**2
    assert recounted(body, "non_embedding", "multiplied", GPT2) == body + 50257 * 768
    assert recounted(body, "non_embedding", "total", GPT2) == body + 50257 * 768
    untied = Architecture(d_model=768, vocab_size=50257, tied=False)
    assert recounted(body, "non_embedding", "total", untied) == body + 2 * 50257 * 768
    effective = recounted(body, "non_embedding", "effective", GPT2)
    assert 6 * effective == 6 * body + 6 * 50257 * 768 + 6 * 1024 * 768 * 12


@given(st.sampled_from(list(COUNTS)), st.sampled_from(list(COUNTS)), st.floats(1e9, 1e12))
def test_there_and_back_is_where_it_began(of, to, n_params):
    there = recounted(n_params, of, to, GPT2)
    assert recounted(there, to, of, GPT2) == pytest.approx(n_params)


def test_a_bit_is_ln_2_nats_and_bytes_share_a_token():
    assert converted_loss(np.log(2), "nats_per_token", "bits_per_token") == pytest.approx(1)
    assert converted_loss(np.log(2), "nats_per_token", "bits_per_byte", 0.25) == pytest.approx(0.25)
    assert converted_loss(1.0, "nats_per_byte", "nats_per_token", 0.25) == pytest.approx(4)


@given(st.sampled_from(list(UNITS)), st.sampled_from(list(UNITS)), st.floats(0.1, 10), st.floats(0.1, 1))
def test_a_loss_comes_back_in_its_unit(of, to, loss, tokens_per_byte):
    there = converted_loss(loss, of, to, tokens_per_byte)
    assert converted_loss(there, to, of, tokens_per_byte) == pytest.approx(loss)


def test_runs_are_converted_and_say_so():
    given = runs(width=[64.0, 128.0])
    found = applied(given, {"n_params": "total:non_embedding", "vocab_size": "1000", "tied": "1"})
    np.testing.assert_allclose(found.table.n_params, [2e6 - 64_000, 4e6 - 128_000])
    np.testing.assert_allclose(found.table.flops, 6 * found.table.n_params * found.table.n_tokens)
    assert found.conventions["n_params"].endswith("converted from total")
    assert list(given.table.n_params) == [2e6, 4e6]


def test_counted_flops_stay_as_they_are():
    given = runs(width=64.0, flops=1e15)
    found = applied(given, {"n_params": "multiplied:non_embedding", "vocab_size": 1000})
    assert list(found.table.flops) == [1e15, 1e15]


def test_a_convention_may_only_be_stated():
    found = applied(runs(), {"n_params": "non_embedding", "loss": "nats_per_token"})
    assert found.conventions["n_params"] == COUNTS["non_embedding"]
    assert found.conventions["loss"] == "nats per token" and list(found.table.n_params) == [2e6, 4e6]


def test_a_loss_per_byte_uses_the_table_s_own_tokens_per_byte():
    found = applied(runs(tokens_per_byte=[0.25, 0.5]), {"loss": "nats_per_token:nats_per_byte"})
    np.testing.assert_allclose(found.table.loss, [0.75, 1.25])


@pytest.mark.parametrize(
    "said, words",
    [
        ({"n_params": "all"}, "unknown 'all'; allowed are non_embedding"),
        ({"loss": "nats_per_token:bits"}, "unknown 'bits'"),
        ({"n_params": "total:multiplied", "tied": 0}, "needs d_model"),
        ({"n_params": "total:multiplied", "d_model": 64, "vocab_size": 100}, "needs tied"),
        ({"n_params": "multiplied:non_embedding", "d_model": 1e4, "vocab_size": 1e4}, "cannot be multiplied"),
        ({"loss": "nats_per_token:bits_per_byte"}, "tokens_per_byte must be known"),
        ({"vocab_size": "many"}, "expected a number"),
        ({"vocab_size": -1}, "must be positive"),
        ({"vocab": 1}, "unknown 'vocab'"),
    ],
)
def test_what_cannot_be_converted_is_refused(said, words):
    with pytest.raises(ValueError, match=words):
        applied(runs(), said)


def test_porian_counts_the_same_sixteen_models_in_three_ways(public_data):
    """The models are open_lm's: gated, d_ff a multiple of 256 from 8/3 d_model up."""
    table = pd.read_csv(public_data / "runs/porian/isoflop_points.csv")
    counted = {name: set(rows) for name, rows in table.groupby("param_count")["n"]}
    widths, depths = np.meshgrid(np.arange(32, 2048, 32), np.arange(1, 40))
    body = body_params(widths, depths, 256 * np.ceil((8 * widths // 3) / 256), gated=True)
    found = 0
    for n in counted["kaplan"]:
        for i in np.argwhere(body == n):
            d_model, n_layers = widths[tuple(i)], depths[tuple(i)]
            known = Architecture(d_model=d_model, n_layers=n_layers, vocab_size=50432, seq_len=2048)
            also = [float(recounted(n, "non_embedding", to, known)) for to in ("multiplied", "effective")]
            found += also[0] in counted["standard"] and also[1] in counted["attention"]
    assert found == len(counted["kaplan"]) == 16


def test_gemstones_without_embeddings_is_the_authors_own_variant(public_data):
    """Their published parameters have their published objective only if N is converted as they did."""
    folder = public_data / "runs/gemstones"
    published = pd.read_csv(folder / "published_fits.csv").query("form == 'parameters' and delta == 1e-3")
    alpha_beta, log_a_b, log_e, huber_sum = published.set_index("table").loc[
        "hot_no_embeds", ["exponents", "log_coefs", "log_E", "huber_sum"]
    ]
    given = read_runs(
        folder / "wandb_df_for_fitting_hot.jsonl", {"n_params": "params_active_precise", "loss": "final_loss"}
    )
    said = {"n_params": "total:non_embedding", "vocab_size": 50304, "tied": 1}
    table = applied(given, said).table
    (alpha, beta), (log_a, log_b) = ast.literal_eval(alpha_beta), ast.literal_eval(log_a_b)
    terms = [log_a - alpha * np.log(table.n_params), log_b - beta * np.log(table.n_tokens)]
    error = np.abs(np.log(table.loss) - np.logaddexp(np.logaddexp(*terms), log_e))
    huber = np.where(error <= 1e-3, error**2 / 2, 1e-3 * (error - 5e-4)).sum()
    assert huber == pytest.approx(huber_sum, rel=1e-4)


def test_step_law_counts_the_body(public_data):
    table = pd.read_csv(public_data / "runs/steplaw/dense_lr_bs_loss.csv")
    body = body_params(table["h"], table["numl"], table["ffnh"], gated=True)
    np.testing.assert_allclose(body, table["N"], rtol=1e-3)
