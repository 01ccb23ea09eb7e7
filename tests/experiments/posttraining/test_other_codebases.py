"""Losses and advantages against torchtune's and rlax's, to 1e-5.

Of each package only the modules with the formulas are imported, as published, without the package's own
__init__: torchtune's wants torchao, rlax's wants distrax and with it a nightly TensorFlow Probability. So
`make test-all` installs both without what they require. Not importable in this way, so not compared:

- rlax's clipped surrogate and torchtune's PPOLoss, whose modules import distrax and torchtune.data.
- OpenRLHF's models/loss.py (0.11.2): its masked_mean is in a module that imports deepspeed, and the package
  pins transformers, ray and flash-attn, which compiles for CUDA.

What these compute (clipped surrogate, value loss, pairwise loss) is held to PyTorch's arrays in the tests of
each (posttrain.npz).
"""

import importlib
import importlib.util
import os
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining import dpo
from experiments.posttraining.estimators import advantages
from experiments.posttraining.estimators.kl import k1
from tests.extras import extra

pytestmark = pytest.mark.slow
SEEDS = range(3)
B, T = 6, 9


@pytest.fixture
def module(monkeypatch):
    """module("package.sub.name"): that module, its parent packages empty in its place."""

    def load(name: str) -> ModuleType:
        top, *rest = name.split(".")[:-1]
        spec = importlib.util.find_spec(top)
        if spec is None:
            if os.environ.get("ISOFLOP_TEST_EXTRAS"):
                raise ModuleNotFoundError(f"{top} is not installed; `make test-all` does it")
            pytest.skip(f"{top} is not installed; `make test-all` does it")
        folders = spec.submodule_search_locations
        for parent in (".".join((top, *rest[:n])) for n in range(len(rest) + 1)):
            package = ModuleType(parent)
            package.__path__ = [os.path.join(folder, *parent.split(".")[1:]) for folder in folders or ()]
            monkeypatch.setitem(sys.modules, parent, package)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.fixture
def torch():
    return extra("torch", "hf")


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-5, atol=1e-5)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def responses(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of responses that begin at the first token, int[B], and where they are, bool[B,T]."""
    lengths_B = np.random.default_rng(seed).integers(1, T + 1, B)
    return lengths_B, np.arange(T) < lengths_B[:, None]


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_of_pairs_are_those_of_torchtune(seed, module, torch):
    losses = module("torchtune.rlhf.loss.dpo")
    logps_4B = 20 * normal(seed, 4, B)
    h_B = dpo.log_ratio_margin(*logps_4B)
    theirs = [torch.tensor(logps_B) for logps_B in logps_4B]
    close(dpo.dpo_losses(h_B, 0.3), losses.DPOLoss(0.3)(*theirs)[0])
    close(dpo.dpo_losses(h_B, 0.3, 0.2), losses.DPOLoss(0.3, 0.2)(*theirs)[0])
    close(dpo.hinge_losses(h_B, 0.3), losses.RSOLoss(0.3)(*theirs)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_pairs_are_those_of_torchtune(seed, module, torch):
    losses = module("torchtune.rlhf.loss.dpo")
    logps_4B = 3 * normal(seed, 4, B)
    ours_4B = jax.grad(lambda x: dpo.dpo_losses(dpo.log_ratio_margin(*x), 0.3, 0.2).mean())(logps_4B)
    theirs = [torch.tensor(logps_B, requires_grad=True) for logps_B in logps_4B]
    losses.DPOLoss(0.3, 0.2)(*theirs)[0].mean().backward()
    for ours_B, each in zip(ours_4B, theirs):
        close(ours_B, each.grad)


@pytest.mark.parametrize("seed", SEEDS)
def test_rewards_with_a_divergence_are_those_of_torchtune(seed, module, torch):
    lengths_B, mask_BT = responses(seed)
    scores_B, logps_BT, reference_BT = normal(seed, B), normal(seed + 10, B, T), normal(seed + 20, B, T)
    ours_BT = advantages.shaped_rewards(scores_B, k1(logps_BT, reference_BT), mask_BT, 0.3)
    theirs_BT, _, _ = module("torchtune.rlhf.rewards").get_rewards_ppo(
        *map(torch.tensor, (scores_B, logps_BT, reference_BT)), 0.3, torch.tensor(lengths_B - 1)
    )
    close(ours_BT, np.where(mask_BT, theirs_BT, 0))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shift_mean", [False, True])
def test_whitening_is_torchtunes(shift_mean, seed, module, torch):
    """But for the std, theirs is the sample's, and for the flag, theirs says whether the mean is put back."""
    _, mask_BT = responses(seed)
    x_BT, n = 3 * normal(seed, B, T) + 1, mask_BT.sum()
    theirs_BT = module("torchtune.rlhf.rewards").whiten(
        torch.tensor(x_BT), torch.tensor(mask_BT), shift_mean=not shift_mean
    )
    mean = 0 if shift_mean else x_BT[mask_BT].mean()
    ours_BT = (advantages.whiten(x_BT, mask_BT, shift_mean) - mean) * np.sqrt((n - 1) / n) + mean
    close(ours_BT[mask_BT], np.asarray(theirs_BT)[mask_BT])


@pytest.mark.parametrize("seed", SEEDS)
def test_advantages_and_returns_are_those_of_torchtune(seed, module, torch):
    """Theirs come whitened, by their own function, and read what lies behind a response: zeros here."""
    rewards = module("torchtune.rlhf.rewards")
    _, mask_BT = responses(seed)
    values_BT, rewards_BT = normal(seed, B, T) * mask_BT, normal(seed + 10, B, T) * mask_BT
    ours_BT, returns_BT = advantages.generalized_advantages(rewards_BT, values_BT, mask_BT, 0.97, 0.9)
    theirs_BT, their_returns_BT = rewards.estimate_advantages(
        torch.tensor(values_BT), torch.tensor(rewards_BT), 0.97, 0.9, torch.tensor(mask_BT)
    )
    close(returns_BT, their_returns_BT)
    whitened_BT = rewards.whiten(torch.tensor(np.asarray(ours_BT)), torch.tensor(mask_BT))
    close(np.where(mask_BT, whitened_BT, 0), theirs_BT)


@pytest.mark.parametrize("seed", SEEDS)
def test_advantages_are_those_of_rlax(seed, module):
    """With a value behind the last token, as of a response that was cut off."""
    rewards_T, values_T = normal(seed, T), normal(seed + 10, T + 1)
    theirs_T = module("rlax._src.multistep").truncated_generalized_advantage_estimation(
        jnp.asarray(rewards_T), jnp.full(T, 0.97), 0.9, jnp.asarray(values_T)
    )
    ours_BT, _ = advantages.generalized_advantages(
        rewards_T[None], values_T[None, :-1], jnp.ones((1, T)), 0.97, 0.9, jnp.asarray(values_T[-1:])
    )
    close(ours_BT[0], theirs_T)
