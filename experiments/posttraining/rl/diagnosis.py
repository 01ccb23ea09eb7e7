"""What the metrics of a run of reinforcement learning say has gone wrong, by name."""

import math
from typing import Any

from experiments.config import RunConfig
from experiments.posttraining.rl.rollouts import KL_LIMIT


def diagnose(config: RunConfig, lines: list[dict[str, Any]]) -> list[str]:
    """A sentence for each: what was seen, where, and what to do about it; [] where nothing is wrong.

    Args:
      config: of the run.
      lines: its metrics.
    """
    steps = [line for line in lines if "reward" in line]
    if not steps:
        return []
    last, max_new = steps[-1], getattr(config.objective, "max_new", 0)
    found, at = [], f"step {last['step']}"
    if not math.isfinite(last["reward"]):
        found.append(f"{at}: the reward is {last['reward']}; find which responses get no finite number")
    elif not math.isfinite(last.get("kl", 0.0)) or last.get("kl", 0.0) >= KL_LIMIT * max_new:
        found.append(
            f"{at}: KL {last['kl']:.1f} nats a response, the limit is {KL_LIMIT * max_new:g}: the policy has "
            "run away from its reference; raise beta or lower lr"
        )
    elif not math.isfinite(last["train_loss"]):
        found.append(f"{at}: the loss is {last['train_loss']}; lower lr")
    if len(steps) > 1 and all(line["reward_std"] == 0 for line in steps):
        found.append(
            f"every response of every step had the same reward, {last['reward']:g}: there is nothing "
            "to learn from; check the reward, or start from a policy that is sometimes right"
        )
    if last["truncated"] == 1:
        found.append(
            f"{at}: all responses were cut off at max_new={max_new}: none ends with EOS; raise max_new, set "
            "truncation_penalty, or first teach responses by supervised fine-tuning"
        )
    return found
