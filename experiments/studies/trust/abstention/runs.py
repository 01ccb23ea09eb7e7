"""Settings of the study and its runs, each a function of the settings alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import (
    ExamplesConfig,
    GRPOConfig,
    InitConfig,
    QuestionsConfig,
    SFTConfig,
)
from experiments.studies.study import check_statistics
from experiments.studies.trust.hallucination import study as hallucination
from models import ladder

# Tokens of a row, of one with a biography in it, of a response, and of a question with it.
ROW, READ_ROW, MAX_NEW, ANSWER_ROW = 64, 96, 4, 24
N_UNSEEN = 256  # people, half of whom demonstrations abstain about: of few, their names are learnt by heart


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    widths: of the smaller and of the larger model. thresholds: t of the smaller ones' rewards. threshold: the
    one of them at which remedies are compared and the larger ones learn. abstention: what is said to abstain,
    one token that no question has: where embeddings are tied, making it likelier changes how it is read.
    n_samples: answers to a question, for detectors.
    """

    seed: int = 0
    n_seeds: int = 3
    data: DataConfig = hallucination.DATA
    widths: tuple[int, int] = (32, 48)
    thresholds: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8)
    threshold: float = 0.2
    abstention: str = "!"
    pretrain_tokens: int = 1_000_000
    sft_steps: int = 600
    rl_steps: int = 200
    sft_lr: float = 5e-4
    given_lr: float = 3e-3
    rl_lr: float = 5e-4
    n_samples: int = 10
    n_bootstrap: int = 500
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if self.threshold not in self.thresholds:
            raise ValueError(f"Settings.threshold={self.threshold}; it is one of {list(self.thresholds)}")
        if self.n_seeds < 2 or self.n_samples < 2:
            raise ValueError(
                f"Settings.n_seeds={self.n_seeds}, n_samples={self.n_samples}; intervals take 2 or more"
            )
        if self.data.biographies is None:
            raise ValueError(
                "Settings.data: the facts are those of task 'biographies'; give data.biographies"
            )


def starts(settings: Settings) -> list[tuple[int, int]]:
    """(width, seed, counted from 0) of all models."""
    return [(width, seed) for width in settings.widths for seed in range(settings.n_seeds)]


def pretrained(settings: Settings, width: int, seed: int) -> RunConfig:
    """The model that has read biographies: one of the study of hallucination."""
    reading = hallucination.Settings(seed=settings.seed, data=settings.data)
    return hallucination.configure(reading, width, settings.pretrain_tokens, 0.0, seed)


def answering(settings: Settings, width: int, seed: int) -> RunConfig:
    """The one that has learnt to answer questions about people that it has read of, and else to abstain."""
    return _run(
        *(settings, width, seed, settings.sft_lr, (4, ROW, settings.sft_steps)),
        init=InitConfig(pretrained(settings, width, seed).run_id),
        examples=_examples(settings, QuestionsConfig(everybody(settings), unknown=(0,), n_unseen=N_UNSEEN)),
        objective=SFTConfig(),
    )


def given(settings: Settings, width: int, seed: int, what: str) -> RunConfig:
    """The one of `answering` that has learnt, in as many steps about the same people, to answer behind a
    "biography", or to say whether an "answer" is true.

    Args:
      settings: of the study.
      width: of the model; seed: of it.
      what: is given.
    """
    drawn = QuestionsConfig(everybody(settings), n_unseen=N_UNSEEN, given=what)  # type: ignore[arg-type]
    return _run(
        *(settings, width, seed, settings.given_lr, (4, READ_ROW, settings.sft_steps)),
        init=InitConfig(answering(settings, width, seed).run_id),
        examples=_examples(settings, drawn),
        objective=SFTConfig(),
    )


def reinforced(settings: Settings, widths: Iterable[int], thresholds: Iterable[float]) -> list[RunConfig]:
    """Those of all seeds that maximise the reward of exact answers."""
    return [
        reinforce(settings, width, seed, threshold)
        for width in widths
        for seed in range(settings.n_seeds)
        for threshold in thresholds
    ]


def reinforce(settings: Settings, width: int, seed: int, threshold: float) -> RunConfig:
    """REINFORCE with leave-one-out baselines from the reward of exact answers, from `answering`.

    Args:
      settings: of the study.
      width: of the model; seed: of it.
      threshold: t.
    """
    objective = GRPOConfig(
        advantage="rloo", reward="exact", threshold=threshold, beta=0.0, group_size=4, max_new=MAX_NEW
    )
    return _run(
        *(settings, width, seed, settings.rl_lr, (64, ANSWER_ROW, settings.rl_steps)),
        schedule=ScheduleConfig(warmup=0.05, decay=0.3),
        init=InitConfig(answering(settings, width, seed).run_id),
        examples=_examples(settings, QuestionsConfig(everybody(settings), about="others")),
        objective=objective,
    )


def everybody(settings: Settings) -> tuple[int, ...]:
    """All numbers of exposures, and 0 of those who are in no biography."""
    assert settings.data.biographies is not None
    return (0, *sorted(set(settings.data.biographies.exposures)))


def _examples(settings: Settings, drawn: QuestionsConfig) -> ExamplesConfig:
    return ExamplesConfig("biographies", template="gold", questions=drawn, abstention=settings.abstention)


def _run(
    settings: Settings, width: int, seed: int, lr: float, sizes: tuple[int, int, int], **post_training: Any
) -> RunConfig:
    rows, seq_len, n_steps = sizes
    return RunConfig(
        model=ladder(width, settings.data.vocab_size),
        data=pretrained(settings, width, seed).data,
        optimizer=OptimizerConfig(lr=lr, b2=0.99, weight_decay=0.01),
        schedule=post_training.pop("schedule", ScheduleConfig()),
        batch_tokens=rows * seq_len,
        seq_len=seq_len,
        n_tokens=rows * seq_len * n_steps,
        seed=settings.seed + seed,
        n_val_tokens=64 * seq_len,
        **post_training,
    )
