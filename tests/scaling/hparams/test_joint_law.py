"""The joint law of the rate over width, depth, tokens and batch, from sweeps."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.hparams import fit_joint_lr
from scaling.table.runs import Runs

RATES = np.geomspace(2e-3, 6e-2, 6)
BASE = {"d_model": 32, "n_layers": 2, "n_tokens": 2**20, "batch_tokens": 512}
EXPONENTS = {"d_model": -1.0, "n_layers": -0.3, "n_tokens": -0.25, "batch_tokens": 0.6}


def best_lr(cell: dict, crossed: float = 0.0) -> float:
    logs = {name: np.log(cell[name] / BASE[name]) for name in BASE}
    powers = sum(EXPONENTS[name] * logs[name] for name in BASE)
    return 1e-2 * np.exp(powers + crossed * logs["d_model"] * logs["n_tokens"])


def sweeps(crossed: float = 0.0) -> Runs:
    """Every factor alone from the base, tokens with batches, and tokens with the widest."""
    cells = [BASE | {name: round(BASE[name] * f)} for name in BASE for f in (0.5, 1, 2, 4)]
    cells += [
        BASE | {"n_tokens": 2**20 * f, "batch_tokens": 512 * g} for f, g in itertools.product((2, 4), (2, 4))
    ]
    cells += [BASE | {"n_tokens": 2**20 * f, "d_model": w} for f, w in itertools.product((2, 4), (16, 128))]
    rng, rows = np.random.default_rng(0), []
    for cell in {tuple(cell.items()): cell for cell in cells}.values():
        for lr in RATES * best_lr(cell, crossed) / 1e-2:
            off = np.log(lr / best_lr(cell, crossed))
            loss = 2.0 * np.exp(0.04 * off**2 + 5e-4 * rng.standard_normal())
            rows.append(cell | {"lr": lr, "loss": loss, "status": "done"})
    return Runs(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def plain():
    return fit_joint_lr(sweeps(), n_draws=300)


def test_planted_exponents_are_found_together(plain):
    for name, planted in EXPONENTS.items():
        assert plain.exponents[name].value == pytest.approx(planted, abs=0.06), name
        assert plain.exponents[name].lo < planted < plain.exponents[name].hi
    assert plain.interactions == {}
    larger = {"d_model": 64, "n_layers": 4, "n_tokens": 2**22, "batch_tokens": 2048}
    assert plain.predict(**larger) == pytest.approx(best_lr(larger), rel=0.1)


def test_whether_the_rate_rises_with_tokens_depends_on_the_batch_and_is_said(plain):
    """D^-0.25 at one batch; D^(-0.25 + 0.5 * 0.6) where the batch grows as the root of D."""
    one, growing = plain.by_tokens.values()
    assert one.hi < 0 and one.value == pytest.approx(-0.25, abs=0.05)
    assert growing.value == pytest.approx(0.05, abs=0.06) and growing.lo < 0.05 < growing.hi
    assert "with more tokens, at one batch, the best rate falls: n_tokens^-0.2" in str(plain)


def test_a_planted_interaction_is_found_and_no_other():
    found = fit_joint_lr(sweeps(crossed=0.25), n_draws=300)
    assert list(found.interactions) == [("d_model", "n_tokens")]
    at_base = found.exponents["n_tokens"].value + found.interactions["d_model", "n_tokens"].value * np.log(
        BASE["d_model"] / found.origin["d_model"]
    )
    assert found.interactions["d_model", "n_tokens"].value == pytest.approx(0.25, abs=0.05)
    assert at_base == pytest.approx(-0.25, abs=0.06)
    assert found.to_json()["interactions"]["d_model * n_tokens"][0] == pytest.approx(0.25, abs=0.05)


def test_too_few_sweeps_or_several_optimizers_are_refused():
    runs = sweeps()
    with pytest.raises(ValueError, match="2 sweeps of the rate over d_model; a joint law takes at least 3"):
        fit_joint_lr(replace(runs, table=runs.table.iloc[: 2 * len(RATES)]))
    mixed = runs.table.assign(optimizer=np.where(runs.table.index % 2, "lion", "adamw"))
    with pytest.raises(ValueError, match="optimizer is adamw or lion; each has laws of its own"):
        fit_joint_lr(replace(runs, table=mixed))
