# ruff: noqa: E501  (lines of code as they are)
"""Whether a wrong line of post-training fails a test: each mutation is made in a copy and its tests are run.

    python -m benchmarks.experiments.posttraining_mutations [PART OF A FILE'S NAME]

Prints a line each, "caught" or "SURVIVED", and exits with 1 if one survived. A mutation is (file, what it says,
what it is made to say, the test module that should notice).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("experiments", "launch", "models", "scaling", "tests", "pyproject.toml")
CODE, TESTS = "experiments/posttraining", "tests/experiments/posttraining"
ADVANTAGES = (f"{CODE}/estimators/advantages.py", f"{TESTS}/estimators/test_advantages.py")
LOGPS = (f"{CODE}/estimators/token_logps.py", f"{TESTS}/estimators/test_token_logps.py")
KL = (f"{CODE}/estimators/kl.py", f"{TESTS}/estimators/test_kl.py")
PPO = (f"{CODE}/rl/ppo.py", f"{TESTS}/rl/test_ppo.py")
COLLECT = (f"{CODE}/rl/ppo.py", f"{TESTS}/rl/test_collect.py")
GRPO = (f"{CODE}/rl/grpo.py", f"{TESTS}/rl/test_collect.py")
ROLLOUTS = (f"{CODE}/rl/rollouts.py", f"{TESTS}/rl/test_collect.py")
DPO = (f"{CODE}/dpo.py", f"{TESTS}/test_dpo.py")
REWARD = (f"{CODE}/reward.py", f"{TESTS}/test_reward.py")
ANNOTATORS = (f"{CODE}/preferences/annotators.py", f"{TESTS}/preferences/test_annotators.py")
GOLD = (f"{CODE}/gold/examples.py", f"{TESTS}/gold/test_examples.py")
PACKING = (f"{CODE}/data/packing.py", f"{TESTS}/data/test_packing.py")
MUTATIONS = [
    (ADVANTAGES, "mask_BT, -kl_coef * kl_BT", "mask_BT, kl_coef * kl_BT"),
    (ADVANTAGES, "scores_B[:, None], 0)", "-scores_B[:, None], 0)"),
    (ADVANTAGES, "rewards_BT + gamma * next_values_BT - values_BT", "rewards_BT + next_values_BT - values_BT"),
    (ADVANTAGES, "delta_B + gamma * lam * later_B", "delta_B + lam * later_B"),
    (ADVANTAGES, "values_BT[:, 1:], after_B[:, None]", "values_BT[:, :-1], after_B[:, None]"),
    (ADVANTAGES, "(_last_tokens(mask_BT), after_B", "(_last_tokens(mask_BT), 0 * after_B"),
    (ADVANTAGES, "(std + 1e-8) + (0 if shift_mean else mean)", "(std + 1e-8) + (mean if shift_mean else 0)"),
    (ADVANTAGES, "mean = masked_mean(x_BT, mask_BT)", "mean = x_BT.mean()"),
    (ADVANTAGES, "* n / (n - 1)", "* (n - 1) / n"),
    (LOGPS, "tokens_BT[:, 1:, None]", "tokens_BT[:, :-1, None]"),
    (LOGPS, "predicted_T >= prompt_lengths_B", "predicted_T > prompt_lengths_B"),
    (LOGPS, "predicted_T < lengths_B", "predicted_T <= lengths_B"),
    (KL, "return logps_BT - reference_logps_BT", "return reference_logps_BT - logps_BT"),
    (KL, "log_ratio_BT = reference_logps_BT - logps_BT", "log_ratio_BT = logps_BT - reference_logps_BT"),
    (PPO, "return -jnp.minimum(free_BT, clipped_BT)", "return -jnp.maximum(free_BT, clipped_BT)"),
    (PPO, "1 - clip_low, 1 + clip_high) * adv", "1 - clip_low, 1 + clip_low) * adv"),
    (PPO, "jnp.maximum(free_BT, bound_BT) / 2", "jnp.minimum(free_BT, bound_BT) / 2"),
    (PPO, "jnp.clip(kl / target - 1,", "jnp.clip(1 - kl / target,"),
    (COLLECT, "if config.whiten_rewards:", "if False:"),
    (COLLECT, "whiten(rewards_BT, mask_BT, shift_mean=False)", "whiten(rewards_BT, mask_BT)"),
    (COLLECT, "if config.whiten_advantages:", "if not config.whiten_advantages:"),
    (COLLECT, 'hyper["clip"], hyper["clip_high"])', 'hyper["clip"], hyper["clip"])'),
    (COLLECT, '"logps": sampled.logps_BT,', '"logps": rolled.logps_BT,'),
    (COLLECT, 'total -= hyper["entropy', 'total += hyper["entropy'),
    (GRPO, 'hyper["clip"], hyper["clip_high"]),', 'hyper["clip"], hyper["clip"]),'),
    (GRPO, 'rewards_B - hyper["beta"] * rollouts', 'rewards_B + hyper["beta"] * rollouts'),
    (GRPO, "rewards_B.reshape(-1, config.group_size)", "rewards_B.reshape(config.group_size, -1).T"),
    (ROLLOUTS, "reward_B - truncation_penalty *", "reward_B + truncation_penalty *"),
    (ROLLOUTS, "mask_BT & sampled.rollout.ended_B[:, None]", "mask_BT & ~sampled.rollout.ended_B[:, None]"),
    (DPO, "- (reference_chosen_B - reference_rejected_B)", "+ (reference_chosen_B - reference_rejected_B)"),
    (DPO, "target = 1 / (2 * beta)", "target = 1 / beta"),
    (DPO, 'hyper["label_smoothing"], 0.5)', 'hyper["label_smoothing"], 0.0)'),
    (DPO, 'pair_logps(model, fixed["reference"], batch)\n        return', "pair_logps(model, params, batch)\n        return"),
    (REWARD, "log_sigmoid(chosen_B - rejected_B - margin_B)", "log_sigmoid(chosen_B - rejected_B + margin_B)"),
    (REWARD, "pair_losses(rejected_B, chosen_B)) / 2", "pair_losses(chosen_B, rejected_B)) / 2"),
    (REWARD, 'correct(chosen_B, rejected_B), 0.5).mean()', 'correct(chosen_B, rejected_B), 1.0).mean()'),
    (ANNOTATORS, "annotator.skill * looked_N3", "looked_N3"),
    (ANNOTATORS, "side * difference_N - annotator.indifference", "side * difference_N + annotator.indifference"),
    (GOLD, "said != annotators.SECOND", "said == annotators.SECOND"),
    (GOLD, 'rows["lengths"] - rows["prompt_lengths"], tastes', 'rows["prompt_lengths"] - rows["lengths"], tastes'),
    (PACKING, "said[0] = 0", "said[-1] = 0"),
    (PACKING, "if room[2 * node] >= length", "if room[2 * node] > length"),
]  # fmt: skip


def caught(folder: Path, file: str, old: str, new: str, tests: str) -> bool:
    """Whether the tests fail with the mutation in the copy at `folder`, which is then as before.

    Args:
      folder: of the copy.
      file: which is mutated. old, new: what it says once, and what then.
      tests: the module that is run.
    """
    path = folder / file
    text = path.read_text()
    assert text.count(old) == 1, f"{file} says {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", tests]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    code = subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode
    path.write_text(text)
    assert code in (0, 1), f"pytest {tests}: exit code {code}"
    return code == 1


def main(part: str = "") -> int:
    """Tries the mutations of files whose name has `part` in it."""
    survived = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(temporary) / name)
        for (file, tests), old, new in MUTATIONS:
            if part in file:
                found = caught(Path(temporary), file, old, new, tests)
                survived += not found
                print(f"{'caught' if found else 'SURVIVED'}  {file}: {old!r} -> {new!r}", flush=True)
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
