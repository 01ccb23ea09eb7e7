"""What a run is trained for, described by data: where it starts, its examples, and its algorithm.

A run without any of these is pretraining. Every float of an objective is a traced argument of the compiled
step, so runs that differ in floats alone share one compilation; integers, strings and booleans are static.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from experiments.fields import ADDED_LATER

T = TypeVar("T")
KNOWN_REWARDS = ("gold", "exact")  # those that no model has learnt
ANY_MODEL = "a reward model"  # in the place of its source, where that makes no difference


def check(where: str, allowed: bool, what: str) -> None:
    """Raises ValueError(f"{where}: {what}") unless `allowed`."""
    if not allowed:
        raise ValueError(f"{where}: {what}")


def check_at_least_one(config: Any, *names: str) -> None:
    """Refuses a configuration of which one of these fields is below 1."""
    for name in names:
        check(
            "objective", getattr(config, name) >= 1, f"{name}={getattr(config, name)}; it must be at least 1"
        )


def check_sampling(config: Any) -> None:
    """Refuses responses without room, a temperature at which nothing is drawn, and an endless penalty."""
    check_at_least_one(config, "max_new")
    what = (
        f"temperature={config.temperature}; it must be above 0: a policy is what its samples are drawn from"
    )
    check("objective", config.temperature > 0, what)
    what = f"threshold={config.threshold}; it is a probability, at least 0 and below 1"
    check("objective", 0 <= config.threshold < 1, what)


def learnt_reward(objective: Any) -> str:
    """The source of the reward model that an objective maximises; "" where there is none."""
    reward = getattr(objective, "reward", "gold")
    return "" if reward in KNOWN_REWARDS else reward


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
    optimizer: "keep" goes on with the optimizer's state of the checkpoint, for pretraining that continues;
      "reset" begins with an empty one. The schedule, and its warm-up, are the run's own either way.
    """

    source: str
    fingerprint: str = ""
    train: tuple[str, ...] = ()
    last_layers: int = 0
    lora: LoRAConfig | None = None
    optimizer: Literal["reset", "keep"] = field(default="reset", metadata=ADDED_LATER)

    def __post_init__(self):
        what = "optimizer='keep' with train or lora; the state that is kept is of all parameters"
        check("init", self.optimizer == "reset" or not (self.train or self.lora), what)
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
    noise, skill, length_bias, disagreement, indifference: of who labels the pairs, as of
      `experiments.posttraining.preferences.annotators.Annotator`, whose temperature the noise is, in units of
      reward; 0 for labels without errors.
    flattery: what annotators add to the reward of an answer that agrees with the user.
    """

    n_examples: int = 4096
    seed: int = 0
    quality: float = 0.5
    questions: float = 0.25
    noise: float = 0.5
    flattery: float = 0.0
    skill: float = field(default=1.0, metadata=ADDED_LATER)
    length_bias: float = field(default=0.0, metadata=ADDED_LATER)
    disagreement: float = field(default=0.0, metadata=ADDED_LATER)
    indifference: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self):
        check("gold", self.n_examples >= 1, f"n_examples={self.n_examples}; it must be at least 1")
        for name in ("quality", "questions", "skill"):
            share = getattr(self, name)
            check("gold", 0 <= share <= 1, f"{name}={share}; it must be between 0 and 1")
        for name in ("noise", "disagreement", "indifference"):
            check("gold", getattr(self, name) >= 0, f"{name}={getattr(self, name)}; it must not be negative")


@dataclass(frozen=True)
class QueriesConfig:
    """Questions with their queries (`experiments.data.sources.queries`): the first ones of a seed."""

    n_examples: int = 512
    seed: int = 1

    def __post_init__(self):
        check("queries", self.n_examples >= 1, f"n_examples={self.n_examples}; it must be at least 1")


@dataclass(frozen=True)
class QuestionsConfig:
    """Questions about the people of a run's `data.biographies`, with their answers
    (`experiments.posttraining.data.questions`).

    about: "asked": in training those whom the corpus has questions about, in validation the others; "others":
      of the others half in training and half in validation, so that what a model knows of both is alike.
    exposures: about people of whom it has so many biographies, 0: none; (): all of whom it has any.
    n_unseen: people without a biography, half of them in training; 0: as many as of another exposure.
    unknown: exposures of the people about whom demonstrations abstain.
    abstain: share of all other demonstrations that abstain, by chance: what reinforcement learning is to
      sample, must be said now and then before.
    seed: of the order and wordings.
    given: what a prompt has besides the question (`experiments.posttraining.data.contexts`): "biography", one
      of the person before it; "answer", a value behind it, of which is to be said whether it is true; "city",
      where the person lives, which implies the region that is asked for; about people met once, too.
    counterfactual: share of the cities given that are not the true one. marked: whether a city that the model
      said itself stands in a turn of its own, so that it differs from one that it was told.
    """

    exposures: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    abstain: float = 0.0
    seed: int = 0
    about: Literal["asked", "others"] = field(default="asked", metadata=ADDED_LATER)
    n_unseen: int = field(default=0, metadata=ADDED_LATER)
    given: Literal["", "biography", "answer", "city"] = field(default="", metadata=ADDED_LATER)
    counterfactual: float = field(default=0.0, metadata=ADDED_LATER)
    marked: bool = field(default=False, metadata=ADDED_LATER)

    def __post_init__(self):
        for name in ("abstain", "counterfactual"):
            share = getattr(self, name)
            check("questions", 0 <= share <= 1, f"{name}={share}; it is a share, 0 to 1")


@dataclass(frozen=True)
class ExamplesConfig:
    """Conversations, pairs of responses, prompts, questions with exact answers, or texts with a label.

    task: the kind of file at `path`, or what is made here: "gold", by the world with a known reward,
      "queries", or "biographies", questions about the people that the run's corpus speaks of.
    template: how conversations become text (`experiments.posttraining.data.chat_template`).
    fingerprint: sha256 of the prepared examples, as of `DataConfig`.
    abstention: the response to a question that stands for not knowing the answer.
    """

    task: Literal[
        "conversations", "preferences", "prompts", "questions", "classes", "gold", "queries", "biographies"
    ]
    path: str = ""
    template: str = "default"
    gold: GoldConfig | None = None
    fingerprint: str = ""
    queries: QueriesConfig | None = field(default=None, metadata=ADDED_LATER)
    questions: QuestionsConfig | None = field(default=None, metadata=ADDED_LATER)
    abstention: str = field(default="I don't know.", metadata=ADDED_LATER)


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning on the responses of conversations.

    weight_by: every response token counts alike ("token"), or every conversation ("example").
    patience: evaluations in a row, of 16, without a lower validation loss after which the run ends; it keeps
      the parameters of the lowest. 0: it goes on to its end and keeps the last.
    """

    kind: Literal["sft"] = "sft"
    weight_by: Literal["token", "example"] = "token"
    patience: int = 0

    def __post_init__(self):
        check("sft", self.patience >= 0, f"patience={self.patience}; it must be at least 0, which is off")


@dataclass(frozen=True)
class RewardConfig:
    """A reward model from pairs: -log σ(r_chosen - r_rejected - margin) (Ouyang et al. 2022)."""

    kind: Literal["reward"] = "reward"
    centring: float = 0.01  # coefficient of (r_chosen + r_rejected)², Eisenstein et al. 2023
    margin: float = 1.0  # coefficient of the pairs' margins, Touvron et al. 2023


@dataclass(frozen=True)
class ClassifierConfig:
    """Which of some labels a text has: a linear head on the network's hidden states (Radford et al. 2018).

    With `init.train` ("head/*",) only the head learns, from features as they are; with ("body/blocks/*",) and
    `init.last_layers` also the last layers; without it everything (Peters et al. 2019, arXiv 1903.05987).

    labels: all there are, in the order of the head's outputs.
    pool: what the head reads: the text's last token, or the mean over its tokens.
    """

    labels: tuple[str, ...]
    kind: Literal["classifier"] = "classifier"
    pool: Literal["last", "mean"] = "last"

    def __post_init__(self):
        what = f"labels={self.labels}; give two or more, all different"
        check("classifier", 2 <= len(set(self.labels)) == len(self.labels), what)
        check("classifier", self.pool in ("last", "mean"), f"pool={self.pool!r}; allowed are 'last', 'mean'")


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

    reward: "gold"; "exact", by the answers of questions (`experiments.posttraining.rl.exact_answers`); or the
      source (as of InitConfig) of a reward model.
    threshold: t of "exact": a wrong answer costs t / (1 - t), so that answering pays where it is right with a
      probability above t; at 0 a wrong answer costs nothing.
    kl: estimator of the KL term in the rewards (Schulman 2020); the gradient is unbiased with "k1" only.
    whiten_advantages: over the batch (Ziegler et al. 2019; Huang et al. 2022, detail 7).
    whiten_rewards: to unit variance, their mean kept (Ziegler et al. 2019, in their code).
    clip, clip_high: the ratio is clipped to 1 - clip … 1 + clip_high (Yu et al. 2025).
    gamma, gae_lambda: of advantages (Schulman et al. 2016); without a discount, as a response ends soon.
    truncation_penalty: off the reward of a response without EOS; mask_truncated: it is not learnt from.
    kl_target: in nats a response; β is then adapted, by at most kl_gain / 5 a step (Ziegler et al. 2019,
      section 2.2). 0: β stays.
    """

    kind: Literal["ppo"] = "ppo"
    reward: str = "gold"
    max_new: int = 32
    epochs: int = 4
    minibatches: int = 4
    kl: Literal["k1", "k2", "k3"] = "k1"
    whiten_advantages: bool = True
    whiten_rewards: bool = False
    mask_truncated: bool = False
    temperature: float = 1.0
    beta: float = 0.05
    clip: float = 0.2
    clip_high: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    entropy_coefficient: float = 0.0
    gamma: float = 1.0
    gae_lambda: float = 0.95
    truncation_penalty: float = 0.0
    kl_target: float = 0.0
    kl_gain: float = 0.1
    threshold: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self):
        check_sampling(self)
        check_at_least_one(self, "epochs", "minibatches")


@dataclass(frozen=True)
class GRPOConfig:
    """Policy gradients with a baseline from the other responses to a prompt, without a value function.

    advantage: "grpo" (Shao et al. 2024), "dr_grpo" (Liu et al. 2025) or "rloo" (Ahmadian et al. 2024).
    normalization: how tokens are averaged: "sequence" (GRPO), "token" (Yu et al. 2025), "constant" (Dr. GRPO,
      RLOO), or "own", that of the advantage.
    kl_in: β KL is taken off the rewards (RLOO), or added to the loss by the estimator `kl` (GRPO). Of those
      in the loss only "k2" has the gradient of the KL; "k3", GRPO's, has that of KL(reference‖policy) (Tang &
      Munos 2025, arXiv 2506.09477).
    reward, threshold, clip, clip_high, truncation_penalty, mask_truncated: as of PPOConfig.
    """

    kind: Literal["grpo"] = "grpo"
    advantage: Literal["grpo", "dr_grpo", "rloo"] = "grpo"
    reward: str = "gold"
    group_size: int = 4
    max_new: int = 32
    epochs: int = 1
    minibatches: int = 1
    normalization: Literal["own", "token", "sequence", "constant"] = "own"
    kl_in: Literal["rewards", "loss"] = "rewards"
    kl: Literal["k2", "k3"] = "k2"
    mask_truncated: bool = False
    temperature: float = 1.0
    beta: float = 0.05
    clip: float = 0.2
    clip_high: float = 0.2
    truncation_penalty: float = 0.0
    threshold: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self):
        check_sampling(self)
        check_at_least_one(self, "epochs", "minibatches")
        check("objective", self.group_size >= 2, f"group_size={self.group_size}; a baseline needs 2 or more")


@dataclass(frozen=True)
class RejectionConfig:
    """Fine-tuning on the best of `n` sampled responses to each prompt.

    sample_from: "start" distils best-of-n of the start policy, "policy" is expert iteration (Anthony 2017).
    reward, threshold: as of PPOConfig.
    """

    kind: Literal["rejection"] = "rejection"
    sample_from: Literal["start", "policy"] = "policy"
    reward: str = "gold"
    n: int = 4
    max_new: int = 32
    temperature: float = 1.0
    threshold: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self):
        check_sampling(self)
        check_at_least_one(self, "n")


ObjectiveConfig = (
    SFTConfig | RewardConfig | ClassifierConfig | DPOConfig | PPOConfig | GRPOConfig | RejectionConfig
)
OBJECTIVE_CONFIGS: dict[str, type] = {
    each.__dataclass_fields__["kind"].default: each
    for each in (
        SFTConfig,
        RewardConfig,
        ClassifierConfig,
        DPOConfig,
        PPOConfig,
        GRPOConfig,
        RejectionConfig,
    )
}
