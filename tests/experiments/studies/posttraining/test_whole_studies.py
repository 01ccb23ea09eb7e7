"""Studies of post-training from the first run to the last word, tiny: what they write, and that it agrees."""

import json

import pandas as pd
import pytest

from tests.tiny_run import isoflop

pytestmark = pytest.mark.slow
TINY = {
    "over_optimisation": (
        *("width=8", "pretrain_steps=4", "sft_steps=4", "reward_widths=[8,16,24]", "n_pairs=[64,128]"),
        *("reward_epochs=1", "least_steps=4", "ppo_steps=3", "betas=[1.0,0.3,0.1]", "dpo_steps=8"),
        *("n_prompts=16", "n_samples=4", "n_bootstrap=10"),
    ),
    "sft_data": (
        *("widths=[8,16,24]", "n_examples=[32,64,128]", "n_steps=[4]", "n_seeds=1"),
        *("pretrain_steps=4", "n_bootstrap=10", "n_prompts=16", "n_samples=1"),
    ),
    "rl_compute": (
        *("width=8", 'advantages=["rloo"]', "pretrain_steps=4", "sft_steps=4", "n_steps=12", "known=0.7"),
        *("n_seeds=1", "n_bootstrap=10", "n_prompts=16", "n_samples=1"),
    ),
    "lora_rank": ("widths=[8]", "ranks=[2]", "lrs=[5e-3]", "pretrain_steps=4", "n_steps=4", "n_seeds=1"),
    "reward_model": (
        *("widths=[8,16,24]", "n_pairs=[32,64,128]", "noises=[0.5]", "n_epochs=1", "least_steps=4"),
        *("n_seeds=1", "n_fresh=64", "n_bootstrap=10"),
    ),
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(name, tmp_path):
    folder = tmp_path / "study"
    flags = [f"--set={override}" for override in (*TINY[name], "gold.n_examples=256")]
    assert isoflop("study", name, "--out", str(folder), "--workers=1", *flags) == 0
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / f"{name}.json").read_text())
    assert len(pd.read_csv(folder / f"{name}.csv")) > 1
    assert (pd.read_csv(folder / "runs.csv")["status"] == "done").all()
