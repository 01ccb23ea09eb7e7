"""Worlds of several forms: formulas by hand, and draws that look like published tables."""

import numpy as np
import pytest

from scaling.simulate import forms
from scaling.simulate.designs import DESIGNS, OVER_TRAINED, targets
from scaling.simulate.truth import SimulatedTruth
from scaling.simulate.worlds import TOP, WORLDS, draw

PLAIN = SimulatedTruth(E=1.8, A=400.0, B=1500.0, alpha=0.35, beta=0.36)
N, D = np.array([1e8, 1e9]), np.array([2e9, 3e10])
LOSS = 1.8 + 400 / N**0.35 + 1500 / D**0.36


@pytest.mark.parametrize(
    "form",
    [
        forms.Skaling(1.8, 400.0, 1500.0, 0.35, 0.36, k=1.0),
        forms.Drifting(1.8, 400 / 1e8**0.35, 1500 / 1e9**0.36, 0.35, 0.36, 1e8, 1e9, 0.0, 0.0),
        forms.Broken(PLAIN, 1.8, c=0.0, d=1e19, f=1.0, flops=1e19),
        forms.Mistuned(PLAIN, off=0.0, flops=1e19),
        forms.Starved(PLAIN, share=0.0, n_tokens=1e10, power=0.5),
    ],
)
def test_without_its_departure_a_form_is_chinchillas_law(form):
    np.testing.assert_allclose(form.loss(N, D), LOSS, rtol=1e-12)


def test_departures_by_hand():
    # Without exponents of size Farseer's form is a constant, e^(s+S), and e^(B+Q) / D^e^(A+E).
    farseer = forms.Farseer(0.2, 0.0, 0.3, 1.0, 0.0, 2.0, 0.1, 0.0, np.log(0.3) - 0.1)
    np.testing.assert_allclose(farseer.loss(N, D), np.exp(0.5) + np.exp(3) / D**0.3)
    # The exponent of tokens is 0.8 / 2^sqrt(N).
    falling = forms.Farseer(0.0, 1.0, 0.0, 0.0, 1.0, 0.0, np.log(0.5), 0.5, np.log(0.8))
    np.testing.assert_allclose(
        falling.loss(np.array([1.0, 4.0]), np.array([10.0, 10.0])), 1 + 10 ** -np.array([0.4, 0.2])
    )
    skaling = forms.Skaling(1.0, 9.0, 16.0, 0.5, 0.5, k=0.5)
    assert skaling.loss(np.array([1.0]), np.array([1.0])) == pytest.approx(1 + 5)

    # Far beyond a break the reducible loss falls by another 10^-c a decade, far before it as without one.
    broken = forms.Broken(PLAIN, 1.8, c=0.05, d=1e12, f=0.5, flops=6e18)
    by = (broken.loss(N * np.sqrt(10), D * np.sqrt(10)) - 1.8) / (
        PLAIN.loss(N * np.sqrt(10), D * np.sqrt(10)) - 1.8
    )
    np.testing.assert_allclose(by / ((broken.loss(N, D) - 1.8) / (LOSS - 1.8)), 10**-0.05)
    early = forms.Broken(PLAIN, 1.8, c=0.05, d=1e30, f=0.5, flops=6e18)
    np.testing.assert_allclose(early.loss(N, D), LOSS)
    assert broken.loss(1e9, 1e9) == pytest.approx(PLAIN.loss(1e9, 1e9))  # 6e18 FLOPs

    drifting = forms.Drifting(0.0, 1.0, 0.0, 0.3, 0.3, 1.0, 1.0, 0.1, 0.0)
    local = -np.diff(np.log(drifting.loss(np.array([9.99, 10.01]), 1.0))) / np.log(10.01 / 9.99)
    np.testing.assert_allclose(local, 0.3 * 1.1, rtol=1e-4)

    mistuned = forms.Mistuned(PLAIN, off=0.5, flops=6e19 / 100)
    assert mistuned.loss(1e9, 1e10) == pytest.approx(PLAIN.loss(1e9, 1e10) * np.exp(0.01 * 1.0**2))
    starved = forms.Starved(PLAIN, share=0.1, n_tokens=1e10, power=0.5)
    assert starved.loss(1e9, 4e10) == pytest.approx(PLAIN.loss(1e9, 4e10 / 1.2))


@pytest.mark.parametrize("kind", WORLDS)
def test_worlds_look_like_published_tables_and_differ_by_seed(kind):
    flops, losses = TOP * 10.0 ** np.arange(-2, 4), []
    for seed in range(6):
        world = draw(kind, seed)
        best = world.best_size(flops)
        loss = world.form.loss(best, flops / 6 / best)
        slopes = -np.diff(np.log(loss)) / np.log(10)
        assert (slopes > 0.01).all() and (slopes < 0.17).all() and 1.0 < loss[2] < 5
        assert (flops / 6 / best**2 > 0.5).all() and (flops / 6 / best**2 < 3000).all()
        for aside in (0.5, 2.0):  # a best size is better than its neighbours
            assert (world.form.loss(best * aside, flops / 6 / best / aside) > loss).all()
        assert 0.002 <= world.noise < 0.0051 and draw(kind, seed) == world
        losses.append(loss[2])
    assert np.std(losses) > 0.1


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_cost_no_more_than_they_say_and_targets_lie_ahead(design):
    world = draw("skaling", 0)
    n, d = DESIGNS[design](world, np.random.default_rng(0))
    assert (6 * n * d).max() == pytest.approx(TOP) and len(set(zip(n, d))) == len(n)
    table = world.measure(n, d, np.random.default_rng(1))
    assert np.log(table.loss / world.form.loss(n, d)).std() == pytest.approx(world.noise, rel=0.5)
    best, over = zip(*targets(world, 100 * TOP))
    assert best[0] == pytest.approx(OVER_TRAINED * over[0]) and 6 * over[0] * over[1] == pytest.approx(
        100 * TOP
    )
    if design == "l-shape":  # what is asked for has more parameters and tokens than any run together
        assert (
            not ((n > 0.3 * best[0]) & (d > 0.3 * best[1])).any()
            and n.max() > 0.3 * best[0]
            and d.max() > 0.3 * best[1]
        )


def test_an_unknown_world_is_refused():
    with pytest.raises(ValueError, match="no simulated world 'nowhere'; there are chinchilla, farseer"):
        draw("nowhere", 0)
