"""What a run is trained for, described by data: where it starts, its examples, and its algorithm.

A run without any of these is pretraining. Every float of an objective is a traced argument of the compiled
step, so runs that differ in floats alone share one compilation; integers, strings and booleans are static.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def check(where: str, allowed: bool, what: str) -> None:
    """Raises ValueError(f"{where}: {what}") unless `allowed`."""
    if not allowed:
        raise ValueError(f"{where}: {what}")


def traced(config: Any) -> dict[str, float]:
    """The floats of an objective or of adapters by name: arguments of the compiled step."""
    return {name: value for name, value in vars(config).items() if isinstance(value, float)}


def static(config: T) -> T:
    """The same configuration with all floats at their defaults: equal where one compiled step serves."""
    defaults = {name: field.default for name, field in config.__dataclass_fields__.items()}  # type: ignore
    return dataclasses.replace(config, **{name: defaults[name] for name in traced(config)})  # type: ignore


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters (Hu et al. 2021) of the matrices that `targets` match; W + alpha / rank · A B."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("*blocks/attention/w_*",)

    def __post_init__(self):
        check("lora", self.rank >= 1, f"rank={self.rank}; it must be at least 1")
        check("lora", self.alpha > 0, f"alpha={self.alpha}; it must be positive")
        check("lora", bool(self.targets), "targets=(); give patterns of matrices, such as '*attention/w_*'")


@dataclass(frozen=True)
class InitConfig:
    """The checkpoint that a run starts from, and what of it is trained.

    source: the id of a run of the same study, a run's folder, or a Hugging Face folder.
    fingerprint: sha256 of its parameters, filled in when a study is planned from a folder; "" accepts any.
    train: patterns (`models.partial_training.split`) of the parameters that are trained. (): all of them, or
      with `lora` none but the adapters. What the objective adds to the network, such as a head, always is.
    last_layers: of the layers that `train` matches, the last so many are trained. 0: all of them.
    """

    source: str
    fingerprint: str = ""
    train: tuple[str, ...] = ()
    last_layers: int = 0
    lora: LoRAConfig | None = None

    def __post_init__(self):
        check("init", self.last_layers >= 0, f"last_layers={self.last_layers}; it must not be negative")
        what = f"last_layers={self.last_layers} without train; say what of them, such as 'blocks/*'"
        check("init", not self.last_layers or bool(self.train), what)
        check("init", bool(self.source), "source=''; give a run id, a run folder or a Hugging Face folder")


@dataclass(frozen=True)
class GoldConfig:
    """The world with a known reward that examples are made from (`experiments.posttraining.gold`).

    n_examples: different prompts of the training split, each with its demonstration and its pair.
    quality: of demonstrations and of the responses in pairs; at 1 there are no mistakes, at 0 questions are
      answered by chance.
    questions: share of prompts that are not the task but questions about it.
    noise: temperature of annotators in units of reward; 0 for labels without errors.
    flattery: what annotators add to the reward of an answer that agrees with the user.
    """

    n_examples: int = 4096
    seed: int = 0
    quality: float = 0.5
    questions: float = 0.25
    noise: float = 0.5
    flattery: float = 0.0

    def __post_init__(self):
        check("gold", self.n_examples >= 1, f"n_examples={self.n_examples}; it must be at least 1")
        for name in ("quality", "questions"):
            share = getattr(self, name)
            check("gold", 0 <= share <= 1, f"{name}={share}; it must be between 0 and 1")
        check("gold", self.noise >= 0, f"noise={self.noise}; it must not be negative")


@dataclass(frozen=True)
class ExamplesConfig:
    """Conversations, pairs of responses, or prompts.

    task: the kind of file at `path`, or "gold": made by the world with a known reward.
    template: how conversations become text (`experiments.posttraining.data.chat_template`).
    fingerprint: sha256 of the prepared examples, as of `DataConfig`.
    """

    task: Literal["conversations", "preferences", "prompts", "gold"]
    path: str = ""
    template: str = "default"
    gold: GoldConfig | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning on the responses of conversations.

    weight_by: every response token counts alike ("token"), or every conversation ("example").
    """

    kind: Literal["sft"] = "sft"
    weight_by: Literal["token", "example"] = "token"


@dataclass(frozen=True)
class RewardConfig:
    """A reward model from pairs: -log σ(r_chosen - r_rejected - margin) (Ouyang et al. 2022)."""

    kind: Literal["reward"] = "reward"
    centring: float = 0.01  # coefficient of (r_chosen + r_rejected)², Eisenstein et al. 2023


@dataclass(frozen=True)
class DPOConfig:
    """Direct preference optimization and its relatives (Rafailov et al. 2023)."""

    kind: Literal["dpo"] = "dpo"
    loss: Literal["dpo", "ipo", "hinge"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimization of a reward minus β KL (Schulman et al. 2017, Ziegler et al. 2019).

    reward: "gold", or the source (as of InitConfig) of a reward model.
    """

    kind: Literal["ppo"] = "ppo"
    reward: str = "gold"
    max_new: int = 32
    epochs: int = 4
    minibatches: int = 4
    temperature: float = 1.0
    beta: float = 0.05
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    entropy_coefficient: float = 0.0
    gamma: float = 1.0
    gae_lambda: float = 0.95
    truncation_penalty: float = 0.0


@dataclass(frozen=True)
class GRPOConfig:
    """Policy gradients with a baseline from the other responses to a prompt, without a value function.

    advantage: "grpo" (Shao et al. 2024), "dr_grpo" (Liu et al. 2025) or "rloo" (Ahmadian et al. 2024).
    reward: as of PPOConfig.
    """

    kind: Literal["grpo"] = "grpo"
    advantage: Literal["grpo", "dr_grpo", "rloo"] = "grpo"
    reward: str = "gold"
    group_size: int = 4
    max_new: int = 32
    epochs: int = 1
    minibatches: int = 1
    temperature: float = 1.0
    beta: float = 0.05
    clip: float = 0.2


@dataclass(frozen=True)
class RejectionConfig:
    """Fine-tuning on the best of `n` sampled responses to each prompt.

    sample_from: "start" distils best-of-n of the start policy, "policy" is expert iteration (Anthony 2017).
    reward: as of PPOConfig.
    """

    kind: Literal["rejection"] = "rejection"
    sample_from: Literal["start", "policy"] = "policy"
    reward: str = "gold"
    n: int = 4
    max_new: int = 32
    temperature: float = 1.0


ObjectiveConfig = SFTConfig | RewardConfig | DPOConfig | PPOConfig | GRPOConfig | RejectionConfig
OBJECTIVE_CONFIGS: dict[str, type] = {
    each.__dataclass_fields__["kind"].default: each
    for each in (SFTConfig, RewardConfig, DPOConfig, PPOConfig, GRPOConfig, RejectionConfig)
}
