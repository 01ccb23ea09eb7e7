"""The runs that studies of post-training share. Each is a function of its settings alone, so that a later run
can name the one it starts from by its run id."""

from typing import Any

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig, StringsConfig
from experiments.objective_configs import (
    ExamplesConfig,
    GoldConfig,
    InitConfig,
    LoRAConfig,
    RewardConfig,
    SFTConfig,
)
from experiments.posttraining.gold import MAX_NEW, PROMPT_LENGTH
from models import ladder

ROW = PROMPT_LENGTH + MAX_NEW  # tokens of a prompt and its response
PACKED_ROW = 128  # tokens of a row of several conversations
PAIRS = 32  # of a step of a reward model; of 64 it learns less from as many pairs
# Pretraining text: strings and their copies, of the letters that the gold world has.
STRINGS = DataConfig(task="strings", strings=StringsConfig("copy", n_symbols=10, max_length=10))
STRINGS_ROW = 48  # two rows of the corpus


def pretrain(data: DataConfig, d_model: int, n_steps: int, lr: float = 1e-2, seed: int = 0) -> RunConfig:
    """A network of this width that has read text.

    Args:
      data: the text.
      d_model: width on the transformer's ladder.
      n_steps: of 32 rows.
      lr: peak learning rate.
      seed: of the run.
    """
    return _run(data, d_model, lr, seed, rows=32, seq_len=STRINGS_ROW, n_steps=n_steps)


def fine_tune(
    start: RunConfig,
    world: GoldConfig,
    n_steps: int,
    lr: float = 5e-3,
    lora: LoRAConfig | None = None,
    seed: int = 0,
) -> RunConfig:
    """Supervised fine-tuning on the world's demonstrations, about 80 of them a step.

    Args:
      start: the run that it goes on from.
      world: of the demonstrations.
      n_steps: of 16 packed rows.
      lr: peak learning rate.
      lora: adapters, in the place of all parameters.
      seed: of the run.
    """
    init = InitConfig(start.run_id, lora=lora)
    return _run(
        *(start.data, start.model.d_model, lr, seed),
        rows=16,
        seq_len=PACKED_ROW,
        n_steps=n_steps,
        init=init,
        examples=ExamplesConfig("gold", gold=world),
        objective=SFTConfig(),
    )


def reward_model(
    data: DataConfig, d_model: int, world: GoldConfig, n_steps: int, lr: float = 3e-3, seed: int = 0
) -> RunConfig:
    """A reward model, from fresh parameters.

    Args:
      data: whose vocabulary it has.
      d_model: width on the transformer's ladder.
      world: of the pairs; its `noise` is of their labels.
      n_steps: of PAIRS pairs.
      lr: peak learning rate.
      seed: of the run.
    """
    return _run(
        *(data, d_model, lr, seed),
        rows=PAIRS,
        seq_len=ROW,
        n_steps=n_steps,
        n_val_rows=512,
        examples=ExamplesConfig("gold", gold=world),
        objective=RewardConfig(),
    )


def from_policy(
    policy: RunConfig,
    objective: Any,
    world: GoldConfig,
    n_steps: int,
    lr: float,
    seed: int = 0,
    rows: int = 64,
) -> RunConfig:
    """PPO, GRPO or DPO of a fine-tuned policy, at a constant learning rate.

    Args:
      policy: the run that it goes on from, and stays close to.
      objective: PPOConfig, GRPOConfig or DPOConfig.
      world: of the prompts or pairs.
      n_steps: of `rows` rollouts or pairs.
      lr: learning rate.
      seed: of the run.
      rows: of a step.
    """
    return _run(
        *(policy.data, policy.model.d_model, lr, seed),
        rows=rows,
        seq_len=ROW,
        n_steps=n_steps,
        n_val_rows=rows,
        schedule=ScheduleConfig(warmup=0.05, decay=0.0),
        init=InitConfig(policy.run_id),
        examples=ExamplesConfig("gold", gold=world),
        objective=objective,
    )


def _run(
    data: DataConfig,
    d_model: int,
    lr: float,
    seed: int,
    *,
    rows: int,
    seq_len: int,
    n_steps: int,
    n_val_rows: int = 256,
    schedule: ScheduleConfig | None = None,
    **post_training: Any,
) -> RunConfig:
    return RunConfig(
        model=ladder(d_model, data.vocab_size),
        data=data,
        optimizer=OptimizerConfig(lr=lr, b2=0.99, weight_decay=0.01),
        schedule=schedule or ScheduleConfig(),
        batch_tokens=rows * seq_len,
        seq_len=seq_len,
        n_tokens=rows * seq_len * n_steps,
        seed=seed,
        n_val_tokens=n_val_rows * seq_len,
        **post_training,
    )
