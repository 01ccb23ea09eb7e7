"""The best mixture: where calculus puts it, below all others within the caps, and refusals in one line."""

import json

import numpy as np
import pytest

import scaling
from scaling.design import mixture_grid
from scaling.laws import find
from scaling.laws.law import values
from scaling.optimum.mixtures import best_mixture, epoch_caps
from scaling.table.runs import check


def planted_fit(law, theta, noise=1e-4, n=24, n_bootstrap=40, seed=0):
    form = find(law)
    table = mixture_grid(n, [name.removeprefix("share_") for name in form.columns])
    loss = values(form, np.array([theta]), {name: table[name].to_numpy() for name in form.columns})[0]
    table["loss"] = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(n))
    runs = check(table, {}, needed=(*form.columns, "loss"))
    return scaling.fit(runs, law=law, n_bootstrap=n_bootstrap)


@pytest.fixture(scope="module")
def two_domains():
    """Loss of web 1 + e^(-2 web), of code 1 + 2 e^(-1.5 code)."""
    web = planted_fit("mixture_exponential:web,code", (1.0, 1.0, -2.0))
    code = planted_fit("mixture_exponential:web,code", (1.0, 2 * np.exp(-1.5), 1.5), seed=1)
    return [web, code]


@pytest.fixture(scope="module")
def three_domains():
    thetas = [(0.8, -0.1, 0.05, 0.06, 0.01, 0.0, -5.0), (0.9, 0.1, -0.1, 0.0, 0.08, 0.01, -5.0)]
    return [planted_fit("mixture:web,code,books", theta, seed=i) for i, theta in enumerate(thetas)]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_the_optimum_is_where_the_slopes_of_two_exponentials_meet(two_domains, weights):
    best = best_mixture(two_domains, weights)
    web = np.log(2 * weights[0] / (3 * np.exp(-1.5) * weights[1])) / 3.5
    assert best.shares["web"] == pytest.approx(web, abs=2e-3)
    assert sum(best.shares.values()) == pytest.approx(1.0)
    assert best.lo["web"] < best.shares["web"] < best.hi["web"] < best.lo["web"] + 0.02
    truth = np.array([1 + np.exp(-2 * web), 1 + 2 * np.exp(-1.5 * (1 - web))])
    assert best.losses == pytest.approx(truth, rel=1e-3)
    assert best.loss == pytest.approx(np.average(best.losses, weights=weights))
    assert best.loss_lo < best.loss < best.loss_hi


def test_no_mixture_within_the_caps_is_better(three_domains):
    caps = {"web": 0.3, "books": 0.25}
    best = best_mixture(three_domains, caps=caps)
    assert all(best.shares[domain] <= cap + 1e-9 for domain, cap in caps.items())
    web, books = 0.3 * np.random.default_rng(0).random(500), 0.25 * np.random.default_rng(1).random(500)
    others = {"share_web": web, "share_books": books, "share_code": 1 - web - books}
    loss = np.mean([fit.predict(**others).loss for fit in three_domains], axis=0)
    assert best.loss <= loss.min() + 1e-9
    assert best_mixture(three_domains).loss <= best.loss


def test_a_fit_that_was_saved_under_the_exponential_laws_former_name_is_read(two_domains):
    content = json.loads(json.dumps(two_domains[0].to_json()).replace("mixture_exponential:", "mixture:"))
    again = scaling.Fit.from_json(content)
    assert again.law == again.forecast.law == "mixture_exponential:web,code"
    assert again.predict(share_web=0.3, share_code=0.7) == two_domains[0].predict(
        share_web=0.3, share_code=0.7
    )


def test_caps_by_epochs():
    assert epoch_caps({"web": 1e12, "code": 2e9}, 4e10, epochs=4) == {"web": 1.0, "code": 0.2}


def test_without_draws_there_is_no_interval(two_domains):
    web = planted_fit("mixture_exponential:web,code", (1.0, 1.0, -2.0), n_bootstrap=0)
    best = best_mixture([web])
    assert best.shares["web"] == pytest.approx(1.0) and np.isnan([best.lo["web"], best.loss_lo]).all()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"weights": (1.0,)}, "there must be 2, one for each fit"),
        ({"weights": (1.0, -1.0)}, "all positive"),
        ({"caps": {"web": 0.2, "code": 0.3}}, "sum to 0.5: no mixture is left"),
        ({"caps": {"web": 1.5}}, "between 0 and 1"),
        ({"caps": {"book": 0.5}}, "the domains are web, code"),
        ({"fits": []}, "give one for each text"),
    ],
)
def test_what_leaves_no_answer_is_refused(two_domains, change, words):
    with pytest.raises(ValueError, match=words):
        best_mixture(**{"fits": two_domains} | change)


def test_fits_of_different_domains_are_refused(two_domains, three_domains):
    with pytest.raises(ValueError, match="fits of different domains"):
        best_mixture([two_domains[0], three_domains[0]])


@pytest.mark.parametrize("wrong", [{"n_tokens": 0.0}, {"epochs": np.nan}, {"unique_tokens": {"web": -1.0}}])
def test_caps_of_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive and finite"):
        epoch_caps(**{"unique_tokens": {"web": 1e9}, "n_tokens": 1e9} | wrong)
