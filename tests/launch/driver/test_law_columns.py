"""What a study writes about its runs is what laws read: finished runs of a known law through the real store,
runs.csv and the commands that fit."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training.optim import hyperparameters, learning_rate
from launch.driver.runs_table import write_table
from launch.driver.stages import planned_run
from launch.store import Store
from models import count, ladder
from models.configs.layers import Experts
from models.configs.model_config import MuP
from scaling.laws import find
from scaling.laws.law import values
from scaling.laws.training_curve.annealing import annealing_columns
from tests.tiers import slow_but
from tests.tiny_run import isoflop

RUN = RunConfig(ladder(16, 256), DataConfig(), OptimizerConfig(0.01), ScheduleConfig(), 512, 128, 512_000)
TOKENS = (64_000, 512_000, 4_096_000)
Made = tuple[RunConfig, dict[str, Any]]  # a run, and the columns of its result that its law reads


def sized(width: int, n_tokens: int, **changes) -> Made:
    counts = count(ladder(width, 256))
    sizes = {"n_params": counts.n_params, "n_active": counts.n_params, "n_tokens": n_tokens}
    return replace(RUN, model=ladder(width, 256), n_tokens=n_tokens, **changes), sizes


def experts(n_experts: int, top_k: int, width: int, n_tokens: int) -> Made:
    """As many experts of 1/top_k of the width of the dense layer; one is the dense model."""
    if n_experts == 1:
        return sized(width, n_tokens)
    dense = ladder(width, 256)
    model = replace(dense, family="moe", experts=Experts(n_experts, top_k, dense.d_ff // top_k))
    sizes = {"n_active": count(model).n_active, "n_params": count(model).n_params, "n_tokens": n_tokens}
    return replace(RUN, model=model, n_tokens=n_tokens), sizes


def moe() -> Iterable[Made]:
    for n, width, tokens in itertools.product((1, 4, 16, 64), (16, 32, 64), TOKENS):
        run, sizes = experts(n, 1, width, tokens)
        yield run, sizes | {"n_experts": n}


def sparsity() -> Iterable[Made]:
    for (n, k), width, tokens in itertools.product(
        ((1, 1), (4, 1), (16, 1), (16, 4), (32, 2)), (16, 32, 64), TOKENS
    ):
        run, sizes = experts(n, k, width, tokens)
        yield run, sizes | {"expansion": n / k, "granularity": k}


def granularity() -> Iterable[Made]:
    for k, width, tokens in itertools.product((1, 2, 4, 8), (16, 32, 64), TOKENS):
        run, sizes = experts(4 * k, k, width, tokens)
        yield run, sizes | {"granularity": k}


def data_constrained() -> Iterable[Made]:
    for unique, width, tokens in itertools.product((3e4, 2e5, 1e7), (16, 32, 64), TOKENS):
        run, sizes = sized(width, tokens, seed=int(unique))
        yield run, sizes | {"unique_tokens": min(unique, tokens)}


def batch() -> Iterable[Made]:
    for each, width, tokens in itertools.product((512, 2048, 8192), (16, 32, 64), TOKENS):
        run, sizes = sized(width, tokens, batch_tokens=each)
        yield run, sizes | {"batch_tokens": each}


def precision() -> Iterable[Made]:
    for bits, width, tokens in itertools.product((3, 4, 8, 32), (16, 32, 64), TOKENS):
        run, sizes = sized(width, tokens)
        yield replace(run, model=replace(run.model, weight_bits=bits)), sizes | {"weight_bits": bits}


def mixture() -> Iterable[Made]:
    for i, share in enumerate(np.linspace(0, 1, 11)):
        run, sizes = sized(16, 512_000, seed=i)
        yield run, sizes | {"components": {"share_web": share, "share_code": 1 - share}}


def annealing() -> Iterable[Made]:
    for name, decay, n_tokens in itertools.product(
        ("wsd", "cosine"), (0.1, 0.5), (64_000, 256_000, 1_024_000)
    ):
        run, sizes = sized(16, n_tokens, schedule=ScheduleConfig(name, decay=decay))
        lr = learning_rate(name, np.arange(run.n_steps), hyperparameters(run))
        yield run, sizes | annealing_columns(np.asarray(lr, float), np.array([run.n_steps])).loc[0].to_dict()


CHINCHILLA = (1.2, 60.0, 300.0, 0.4, 0.45)
LAWS = {  # law: (runs, its true parameters)
    "sparsity": (sparsity, (*CHINCHILLA, 0.3, 0.1, 0.05)),
    "moe": (moe, (*CHINCHILLA, -0.1, 0.0, 0.05, 0.0, 2.0, 300.0)),
    "granularity": (granularity, (*CHINCHILLA, 40.0, 0.8)),
    "data_constrained": (data_constrained, (*CHINCHILLA, 12.0, 5.0)),
    "precision": (precision, (*CHINCHILLA, 2.0)),
    "batch": (batch, (*CHINCHILLA, 3.0, 0.5)),
    "mixture_exponential:web,code": (mixture, (1.5, 0.8, -1.0)),
    "annealing": (annealing, (2.0, 0.5, 0.01, 0.5)),
}


def study(folder: Path, made: Iterable[Made], loss_of) -> Path:
    """A study's folder with finished runs, whose loss is `loss_of` (run, columns)."""
    store = Store(folder)
    store.create()
    shared = {"data": {"task": "docstrings", "tokenizer": {"name": "bytes"}}, "versions": {}, "device": "cpu"}
    stage_of = {}
    for run, columns in made:
        planned = planned_run("grid", run)
        store.plan.add([planned])
        stage_of[run.run_id] = "grid"
        row = {"status": "done", "lr": run.optimizer.lr, "batch_tokens": run.batch_tokens, "seed": run.seed}
        row |= {"flops": 6.0 * columns["n_active"] * run.n_tokens, "conventions": {"loss": "nats"}}
        row |= columns | shared | {"loss": float(loss_of(run, columns))}
        store.finish(store.claim(run.run_id), row)
    write_table(store, stage_of)
    return folder


@pytest.mark.parametrize("name", slow_but(("sparsity", "annealing"), LAWS))
def test_a_law_is_found_again_in_the_table_of_a_study(name, tmp_path, capsys):
    runs, truth = LAWS[name]
    law = find(name)

    def loss(run: RunConfig, columns: dict[str, Any]) -> float:
        known = columns | columns.get("components", {})
        x = {column: np.array([float(known[column])]) for column in law.columns}
        return values(law, np.array([truth]), x)[0, 0]

    folder = study(tmp_path, runs(), loss)
    assert set(law.columns) <= set(pd.read_csv(folder / "runs.csv", nrows=0).columns)
    assert isoflop("fit", str(folder), "--law", name, "--bootstrap", "0", "--json") == 0
    fit = json.loads(capsys.readouterr().out)
    assert fit["n_points"] == len(list(runs())) and fit["objective"] < 1e-6
    if name != "moe":  # whose eleven parameters three sizes do not tell apart
        assert list(fit["params"].values()) == pytest.approx(list(truth), rel=0.02, abs=0.002)


def test_sweeps_of_both_parametrisations_have_laws_of_their_own(tmp_path, capsys):
    """lr* falls with the width in one of them, and with the batch they interact alike."""

    def made() -> Iterable[Made]:
        sweep = itertools.product((False, True), (16, 32), TOKENS[:2], (0.25, 1, 4), (0.5, 1, 2))
        for mup, width, tokens, rate, batch in sweep:
            run, sizes = sized(width, tokens, batch_tokens=int(1024 * batch))
            model = replace(run.model, mup=MuP(16, 2, 8) if mup else None)
            yield replace(run, model=model, optimizer=OptimizerConfig(0.01 * rate)), sizes

    def loss(run: RunConfig, columns: dict[str, Any]) -> float:
        away = np.log(run.optimizer.lr / 0.01) + (0.0 if run.model.mup else np.log(run.model.d_model / 16))
        over = np.log(run.batch_tokens / 1024)
        return 2 + 0.1 * away**2 + 0.1 * over**2 - 0.06 * away * over + 1e-6 * run.model.d_model

    assert isoflop("hparams", str(study(tmp_path, made(), loss)), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mup"]["lr_per_batch"][0] == pytest.approx(0.3, abs=0.02)
    exponents = {name: laws["params"]["lr"]["N"] for name, laws in found.items()}
    assert abs(exponents["mup"]) < 0.02
    sizes = [count(ladder(width, 256)).n_params for width in (16, 32)]
    assert exponents["standard"] == pytest.approx(-np.log(2) / np.log(sizes[1] / sizes[0]), abs=0.1)
