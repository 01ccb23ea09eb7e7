"""The settings and the runs of the study of creativity."""

import dataclasses
from dataclasses import dataclass

from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.objective_configs import DPOConfig, GoldConfig, PPOConfig
from experiments.posttraining.gold import MAX_NEW
from experiments.studies.posttraining import recipes
from experiments.studies.study import check_statistics
from experiments.studies.trust.creativity import frontier
from models import ladder
from models.decoding.settings import SamplingSettings

GRAMMAR = "short_grammar"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Laws are fitted to all `widths` but the last; `hot` is the temperature
    at which truncations are tried besides 1; `n_sampled` documents are sampled of each run and sampler."""

    seed: int = 0
    n_seeds: int = 3
    widths: tuple[int, ...] = (8, 16, 24, 32)
    n_tokens: tuple[int, ...] = (100_000, 200_000, 400_000)
    rows: int = 32
    lr: float = 1e-2
    temperatures: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
    top_ps: tuple[float, ...] = (0.5, 0.7, 0.85, 0.95)
    top_ks: tuple[float, ...] = (2, 3, 4, 8)
    min_ps: tuple[float, ...] = (0.02, 0.05, 0.1, 0.3)
    hot: float = 1.5
    n_sampled: int = 512
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    policy_seeds: int = 5
    policy_width: int = 24
    pretrain_steps: int = 150
    sft_steps: int = 100
    dpo_steps: int = 48
    dpo_lr: float = 1e-3
    dpo_beta: float = 0.1
    ppo_steps: int = 48
    ppo_lr: float = 3e-4
    ppo_beta: float = 0.05
    n_prompts: int = 128
    n_responses: int = 16
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if self.n_seeds < 2 or self.policy_seeds < 2:
            raise ValueError("Settings: n_seeds and policy_seeds must be 2 or more, for intervals over them")
        if len(self.widths) < 3 or len(self.widths) * len(self.n_tokens) < 8:
            raise ValueError("Settings: the law takes three widths and six runs of all but the last, or more")
        if 1.0 not in self.temperatures or len(self.temperatures) < 2:
            raise ValueError("Settings.temperatures: 1 is one of them, which validity is predicted for")
        if self.hot <= 1:
            raise ValueError(f"Settings.hot={self.hot}; it is above 1, where truncations are tried anyway")

    @property
    def samplers(self) -> list[tuple[str, float, SamplingSettings]]:
        """(sampler, its number, settings)."""
        truncations = {"top_p": self.top_ps, "top_k": self.top_ks, "min_p": self.min_ps}
        return frontier.grid(self.temperatures, truncations, self.hot)


def models_of(
    settings: Settings, data: dict[str, DataConfig], width: int
) -> list[tuple[int, int, RunConfig]]:
    """(number of tokens, seed, run) of models of the grammar of this width."""
    row, found = KNOWN_SOURCES[GRAMMAR].row_length, []
    for seed in range(settings.n_seeds):
        for n_tokens in settings.n_tokens:
            config = RunConfig(
                model=ladder(width, data["grammar"].vocab_size),
                data=data["grammar"],
                optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
                schedule=ScheduleConfig(warmup=0.0, warmup_tokens=20 * settings.rows * row),
                batch_tokens=settings.rows * row,
                seq_len=row,
                n_tokens=n_tokens,
                seed=settings.seed + seed,
                n_val_tokens=1024 * row,
            )
            found.append((n_tokens, seed, config))
    return found


def longest(settings: Settings, data: dict[str, DataConfig], width: int) -> list[tuple[int, int, RunConfig]]:
    """Those of the most tokens."""
    return [each for each in models_of(settings, data, width) if each[0] == max(settings.n_tokens)]


def pretrained(settings: Settings, data: dict[str, DataConfig], seed: int) -> RunConfig:
    """The policy before it has learnt to answer."""
    return recipes.pretrain(
        data["gold"], settings.policy_width, settings.pretrain_steps, seed=settings.seed + seed
    )


def fine_tuned(settings: Settings, data: dict[str, DataConfig], seed: int) -> RunConfig:
    """The policy that preference tuning begins as."""
    start = pretrained(settings, data, seed)
    return recipes.fine_tune(start, settings.gold, settings.sft_steps, seed=settings.seed + seed)


def preferred(settings: Settings, data: dict[str, DataConfig]) -> list[tuple[str, int, RunConfig]]:
    """(policy, seed, run) of DPO and PPO; PPO is given the true reward, DPO pairs that are labelled by it."""
    ppo = PPOConfig(max_new=MAX_NEW, epochs=1, beta=settings.ppo_beta, gae_lambda=1.0)
    ways = {
        "DPO": (DPOConfig(beta=settings.dpo_beta), settings.dpo_steps, settings.dpo_lr, 64),
        "PPO": (ppo, settings.ppo_steps, settings.ppo_lr, 128),
    }
    return [
        (
            name,
            seed,
            recipes.from_policy(
                *(fine_tuned(settings, data, seed), objective, settings.gold, n_steps, lr),
                seed=settings.seed + seed,
                rows=rows,
            ),
        )
        for seed in range(settings.policy_seeds)
        for name, (objective, n_steps, lr, rows) in ways.items()
    ]
