"""What PyTorch computed in float64 of float32 inputs: losses of post-training, their gradients and parts.

DPO: −log σ(β((pc − pr) − (qc − qr))); GAE with 0 or `gae_bootstrap_value` after the last token; whitened with
the population's std; value loss ½ max; KL(policy‖ref) by k1, k2, k3; means over pairs, or over masked tokens.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

with np.load(Path(__file__).parents[2] / "data/posttrain.npz") as _file:
    GOLDEN = {name: _file[name] for name in _file.files if name != "params"}


@pytest.fixture
def golden():
    """The arrays by name; numbers are float64 while a test has them."""
    with jax.enable_x64(True):
        yield {
            name: array.astype(np.float64) if array.dtype == np.float32 else array
            for name, array in GOLDEN.items()
        }


def assert_equal(computed, expected):
    np.testing.assert_allclose(computed, expected, rtol=1e-9, atol=1e-12)
