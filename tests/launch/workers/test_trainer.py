"""What is handed to training, and what is refused before it."""

import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from launch.workers.trainer import jax_trainer
from models import ladder
from tests.tiny_run import Hooks


def test_a_configuration_that_is_not_of_its_run_is_refused(tmp_path):
    """Of a plan that somebody edited."""
    config = RunConfig(
        *(ladder(16, 259), DataConfig(), OptimizerConfig(0.01), ScheduleConfig()),
        batch_tokens=32,
        seq_len=16,
        n_tokens=320,
    )
    with pytest.raises(ValueError, match=f"planned configuration is of run {config.run_id}"):
        list(jax_trainer().train([to_json(config)], [tmp_path / "another"], [Hooks()], None))
