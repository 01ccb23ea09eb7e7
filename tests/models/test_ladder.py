"""The ladder of sizes: one dial, about as many parameters in every family, and widths that it lacks."""

import hashlib
import re

import jax
import numpy as np
import pytest

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import from_json
from models import FAMILIES, MuP, count, ladder

WIDTHS = [*range(8, 256, 8), *range(256, 512, 16), *range(512, 1025, 32)]


@pytest.mark.parametrize("family", FAMILIES)
def test_ladder_grows_by_one_dial(family):
    sizes = [count(ladder(d_model, 259, family)).n_params for d_model in WIDTHS]
    assert (np.diff(sizes) > 0).all()


def test_a_rung_by_hand():
    config = ladder(320, 259)
    assert (config.n_layers, config.n_heads, config.d_head, config.d_ff) == (10, 20, 16, 856)
    assert config.embedding_scale**2 == pytest.approx(320)  # undoes the scale of a table that is the head


def test_heads_double_with_the_width_from_256_on():
    heads = {d_model: ladder(d_model, 259).d_head for d_model in (8, 248, 256, 496, 512, 992, 1024, 4096)}
    assert list(heads.values()) == [8, 8, 16, 16, 32, 32, 64, 64]
    for d_model in WIDTHS:
        assert d_model % ladder(d_model, 259).d_head == d_model % ladder(d_model, 259, "rwkv7").d_head == 0


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [("encdec", 0.97, 1.03), ("rnn", 1, 1.15), ("rwkv4", 0.97, 1.03), ("rwkv7", 0.97, 1.03)],
)
def test_ladder_has_the_parameters_of_the_transformer(family, low, high):
    for d_model in (32, 64, 128, 256, 512):
        ratio = count(ladder(d_model, 259, family)).n_params / count(ladder(d_model, 259)).n_params
        assert low < ratio < high, d_model


def test_a_mixture_has_the_active_parameters_of_the_transformer():
    for d_model in (16, 64, 128):
        dense, counts = count(ladder(d_model, 259)), count(ladder(d_model, 259, "moe"))
        assert counts.n_active - counts.parts["router"].n_params == dense.n_params
        assert counts.n_total > 2 * dense.n_total


def test_changes_override_fields_and_are_checked():
    assert ladder(16, 259, "encdec", n_layers=3, dtype="bfloat16").n_layers == 3
    with pytest.raises(ValueError, match="n_layers=0; it must be at least 1"):
        ladder(16, 259, n_layers=0)
    with pytest.raises(ValueError, match="n_layers=1000000000; it must be at most 10,000"):
        ladder(16, 259, n_layers=10**9)  # which nothing should loop over


@pytest.mark.parametrize("family", ["transformer", "moe"])
def test_under_mup_embeddings_are_lifted_as_at_the_base_size(family):
    mup = MuP(base_d_model=16, base_n_layers=2, base_d_head=8)
    assert ladder(64, 259, family).embedding_scale == 8
    assert ladder(64, 259, family, mup=mup).embedding_scale == 4
    assert ladder(64, 259, family, mup=mup, embedding_scale=3.0).embedding_scale == 3
    assert ladder(64, 259, "rwkv4", mup=mup).mup == mup  # it has no such scale


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((20, 259), "model: d_model=20; the ladder has multiples of 8"),
        ((0, 259), "model: d_model=0; the ladder has multiples of 8"),
        ((-8, 259, "rnn"), "model: d_model=-8; the ladder has multiples of 8"),
        ((264, 259), "model: d_model=264; from 256 on the ladder has multiples of 16"),
        ((528, 259), "model: d_model=528; from 512 on the ladder has multiples of 32"),
        ((264, 259, "rwkv7"), "model: d_model=264; from 256 on the ladder has multiples of 16"),
        (
            (16, 259, "lstm"),
            f"no ladder for family 'lstm'; there are {', '.join(FAMILIES)}, and FILE.py:NAME for your own",
        ),
    ],
)
def test_what_the_ladder_does_not_have_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ladder(*wrong)


# Of a run of the ladder's model of width 64; of the paths and shapes of the parameters of that of width 32.
# Saved studies and checkpoints are found by them: a change here orphans what was written before.
IDENTITIES = {
    "transformer": ("43797ed13bb2", "c342286f83d7"),
    "moe": ("d978a1393e8c", "d7a39683ff6c"),
    "encdec": ("85bdbcad38c3", "3c06a8963058"),
    "rnn": ("8b5319783857", "48fb47eac95c"),
    "rwkv4": ("4c47306e2852", "c7ad986bbb14"),
    "rwkv7": ("e2218d0cc860", "0aa0a6c5b72b"),
}


@pytest.mark.parametrize("family", IDENTITIES)
def test_run_ids_and_parameter_trees_are_those_of_runs_already_made(family):
    settings = DataConfig(), OptimizerConfig(lr=1e-3), ScheduleConfig()
    run = RunConfig(ladder(64, 259, family), *settings, batch_tokens=1024, seq_len=64, n_tokens=10240)
    assert from_json(RunConfig, run.as_json) == run
    tree = jax.eval_shape(models.build(ladder(32, 64, family)).init, jax.random.key(0))
    leaves = [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    digest = hashlib.sha256(str(leaves).encode()).hexdigest()[:12]
    assert (run.run_id, digest) == IDENTITIES[family]
