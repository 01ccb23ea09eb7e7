"""Surfaces and laws of learning rate and batch on the page."""

import numpy as np
import pytest

from scaling.hparams import fit_hparams
from scaling.report.sections.hyperparameters import _contour, section
from tests.scaling.planted_sweeps import cross, planted_sweeps, random_truth


@pytest.fixture(scope="module")
def laws():
    rng = np.random.default_rng(3)
    return fit_hparams(planted_sweeps(random_truth(rng), cross(3), 1e-3, None, rng)[0])


@pytest.mark.parametrize("level", [0.25, 2.0])
def test_contour_lies_at_its_level(laws, level):
    surface = laws.surface(0)
    drawn = _contour(surface, level)
    loss = surface.loss(lr=drawn["lr"], batch_tokens=drawn["batch_tokens"])
    assert len(drawn) > 20
    assert 100 * (loss / np.exp(surface.log_loss) - 1) == pytest.approx(np.full(len(drawn), level), rel=0.03)


def test_surfaces_run_from_the_smallest_to_the_largest_size_and_show_all_their_settings(laws):
    figures = {figure.name: figure for figure in section(laws).figures}
    sizes = [optimum.n_params * optimum.n_tokens for optimum in laws.optima]
    for name, cell in (("surface_1", int(np.argmin(sizes))), ("surface_4", int(np.argmax(sizes)))):
        assert len(figures[name].spec["datasets"]["runs"]) == (laws.runs["cell"] == cell).sum()
        best = figures[name].spec["datasets"]["best"][0]
        assert best["lr"] == pytest.approx(laws.optima[cell].lr, rel=1e-4)


def test_law_figures_hold_every_optimum_and_mark_those_at_an_edge(laws):
    figures = {figure.name: figure for figure in section(laws).figures}
    for name, short in (("lr_law", "lr"), ("batch_law", "batch")):
        optima = figures[name].spec["datasets"]["optima"]
        edges = [getattr(optimum, f"{short}_at_edge") for optimum in laws.optima]
        assert [optimum["at_edge"] for optimum in optima] == edges
        assert ("Triangles" in figures[name].caption) == any(edges)


def test_drawn_law_is_the_law(laws):
    lines = section(laws).figures[-2].spec["datasets"]["law"]
    for line in lines[::17]:
        predicted = laws.predict(line["n_params"], line["n_tokens"])
        assert line["best"] == pytest.approx(predicted.lr, rel=1e-3)
        assert line["lo"] < line["best"] < line["hi"]
