"""What goes wrong in reinforcement learning is told by name, and nothing else is."""

import dataclasses

import pytest

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import ExamplesConfig, InitConfig, PPOConfig
from experiments.posttraining.rl.diagnosis import diagnose

RUN = RunConfig(models.ladder(16, 259), DataConfig(), OptimizerConfig(lr=0.01), ScheduleConfig(), 64, 16, 640)
CONFIG = dataclasses.replace(
    RUN, init=InitConfig("base"), examples=ExamplesConfig("gold"), objective=PPOConfig(max_new=8)
)
FINE = {"step": 3, "train_loss": 0.1, "reward": 1.0, "reward_std": 0.5, "kl": 2.0, "truncated": 0.25}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward": float("nan")}, "step 3: the reward is nan"),
        ({"kl": 80.0}, "step 3: KL 80.0 nats a response, the limit is 80"),
        ({"kl": float("inf"), "train_loss": float("nan")}, "KL inf nats"),
        ({"train_loss": float("inf")}, "the loss is inf"),
        ({"reward_std": 0.0}, "had the same reward, 1:"),
        ({"truncated": 1.0}, "all responses were cut off at max_new=8"),
    ],
)
def test_each_thing_that_goes_wrong_has_its_sentence(change, said):
    (found,) = diagnose(CONFIG, [FINE | change | {"step": 1}, {"step": 1, "val_loss": 0.1}, FINE | change])
    assert said in found


def test_nothing_is_said_of_a_run_that_is_fine_or_has_not_begun():
    assert diagnose(CONFIG, [FINE | {"reward_std": 0.0}, FINE]) == []
    assert diagnose(CONFIG, []) == []
    assert diagnose(CONFIG, [FINE | {"kl": 79.0}]) == []
