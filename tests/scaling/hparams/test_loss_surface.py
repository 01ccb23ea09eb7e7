"""The loss around the best of two hyperparameters."""

import numpy as np
import pytest

from scaling.hparams.loss_surface import LEAST_CURVATURE, LossSurface, basis, tensors, with_minimum


def test_a_shape_and_its_tensors_are_the_same_form():
    rng = np.random.default_rng(0)
    shape, d = rng.standard_normal(7), rng.standard_normal((5, 2))
    curvature, skew = tensors(shape, 2)
    direct = np.einsum("ri,ij,rj->r", d, curvature, d) / 2 + np.einsum("ri,rj,rk,ijk->r", d, d, d, skew) / 6
    assert basis(d) @ shape == pytest.approx(direct)
    assert basis(d[:, :1]) @ [2.0, 6.0] == pytest.approx(d[:, 0] ** 2 + d[:, 0] ** 3)


def test_a_saddle_becomes_the_nearest_minimum_and_a_minimum_stays():
    convex = np.array([0.02, -0.005, 0.01, 0.1, 0.2, 0.3, 0.4])
    assert with_minimum(convex, 2) == pytest.approx(convex)
    saddle = np.array([[0.02, 0.0, -0.03, 1, 2, 3, 4], [0.0, 0.01, 0.0, 1, 2, 3, 4]])
    mended = with_minimum(saddle, 2)
    assert np.linalg.eigvalsh(tensors(mended, 2)[0]).min() == pytest.approx(LEAST_CURVATURE)
    assert mended[0, [0, 2]] == pytest.approx([0.02, LEAST_CURVATURE]) and mended[:, 3:] == pytest.approx(
        saddle[:, 3:]
    )


def test_a_surface_is_lowest_at_its_centre_and_reads_settings_by_name():
    surface = LossSurface(
        axes=("lr", "batch_tokens"),
        centre=np.log([1e-3, 1e5]),
        curvature=np.array([[0.02, -0.01], [-0.01, 0.02]]),
        skew=np.zeros((2, 2, 2)),
        log_loss=np.log(2.0),
    )
    assert surface.loss(lr=1e-3, batch_tokens=1e5) == pytest.approx(2.0)
    off = surface.loss(lr=np.array([np.e * 1e-3, 1e-3]), batch_tokens=np.array([1e5, np.e * 1e5]))
    assert off == pytest.approx(2.0 * np.exp(0.01))
    assert surface.loss(batch_tokens=np.e * 1e5, lr=np.e * 1e-3) == pytest.approx(2.0 * np.exp(0.01))
