"""What compute buys at test time: greedy decoding, beams, best of n, a vote, and a verifier, at their FLOPs.

Small models learn to walk through a table (`experiments.data.sources.walks`), some longer than others.
Then each answers the same questions in every way. Guessing is right once in ten times, a perfect model
always.

The task and the lengths of training were chosen so that the models are right some of the time, where methods
can differ at all. How the methods rank here, on one seed, is no evidence of how they rank elsewhere.
"""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources import walks
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides, to_json
from experiments.files import write_atomic, write_json
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.studies.test_time_compute import figures
from experiments.study_report import write_findings
from experiments.training.checkpoints.load import load
from models import ladder
from models.decoding import best_of_n
from models.decoding.beam import beam_search
from models.decoding.pass_at_k import pass_at_k
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from scaling.report import Picture
from scaling.table.runs import Runs

VOCAB = ByteVocab()
[NEWLINE] = VOCAB.encode("\n")  # ends an answer
MAX_TOKENS = walks.N_DIGITS + 1
GREEDY, BEAM, VOTE = "greedy", "beam search", "majority vote"
LIKELIEST, PER_TOKEN = "best of n, by log-probability", "best of n, by log-probability a token"
REWARD, VERIFIER = "best of n, by a check of the last step", "any of n right (pass@n)"

CONVENTIONS = {
    "right": "fraction of questions whose answer, the last digit of a whole line, is right",
    "n": "samples of a question, or beams; the samples of one draw serve every method",
    "flops": "matrix products of the forward passes a question takes, by models.count: its prompt once, and "
    "one for each further token of each sample or beam; attention counted over the whole line; checks and "
    "votes cost nothing",
    "of n": "mean over the disjoint groups of n among a question's samples; pass@n: Chen et al. 2021, eq. 1",
    "lo, hi": "normal interval over questions, cut at 0 and 1",
    "chance": walks.CHANCE,
    "ceiling": walks.CEILING,
}


@dataclass(frozen=True)
class Training:
    """A model of this width, trained on so many tokens."""

    d_model: int
    n_tokens: int


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change; the numbers suit two CPU cores and three minutes.

    `n_samples` are drawn for every question at `temperature`; `sizes` are how many of them a method is given.
    """

    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(task="walks"))
    training: tuple[Training, ...] = (Training(32, 140_000), Training(32, 150_000), Training(32, 160_000))
    lr: float = 1e-2
    warmup_tokens: int = 60_000
    seq_len: int = 16
    batch_tokens: int = 512
    n_val_tokens: int = 8192
    n_questions: int = 250
    n_samples: int = 32
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    beams: tuple[int, ...] = (2, 4, 8)
    temperature: float = 1.0
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level)
        if not 2 <= self.n_questions <= walks.N_TEST:
            raise ValueError(f"Settings.n_questions={self.n_questions}; allowed are 2 to {walks.N_TEST}")
        if not self.sizes or not all(1 <= n <= self.n_samples for n in self.sizes):
            raise ValueError(
                f"Settings.sizes={list(self.sizes)}; allowed are 1 to n_samples={self.n_samples}"
            )
        if not self.training:
            raise ValueError("Settings.training is empty; a study needs a model")
        if self.data.task != "walks":
            raise ValueError(f"Settings.data.task={self.data.task!r}; the questions are of 'walks'")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    plan(settings)
    SamplingSettings(temperature=settings.temperature)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (Stage("train", lambda runs: plan(settings)),)
    summary = "answers against FLOPs at test time: greedy, beams, best of n, votes, a verifier"
    return Study(
        "test_time_compute", summary, settings, stages, lambda folder, runs: finish(settings, folder, runs)
    )


def plan(settings: Settings) -> list[RunConfig]:
    """A run for each model."""
    return [
        RunConfig(
            model=ladder(one.d_model, settings.data.vocab_size, settings.family),
            data=settings.data,
            optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
            schedule=ScheduleConfig(warmup_tokens=settings.warmup_tokens),
            batch_tokens=settings.batch_tokens,
            seq_len=settings.seq_len,
            n_tokens=one.n_tokens,
            seed=settings.seed,
            n_val_tokens=settings.n_val_tokens,
        )
        for one in settings.training
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Evaluates every model by every method; writes test_time_compute.csv, .json and .png, and the best."""
    rows = []
    table = pd.DataFrame(runs.table[runs.table.status == "done"])
    for run in table.to_dict("records"):
        about = {"run_id": run["run_id"], "model": name(run)}
        about |= {"n_params": run["n_params"], "training_flops": run["flops"]}
        rows += [about | row for row in evaluate_run(settings, folder / "runs" / run["run_id"])]
    table = pd.DataFrame(rows)
    write_atomic(folder / "test_time_compute.csv", table.to_csv(index=False))
    versions = {name: importlib.metadata.version(name) for name in ("isoflop", "jax", "jaxlib")}
    about = {"settings": to_json(settings), "conventions": CONVENTIONS, "versions": versions}
    write_json(folder / "test_time_compute.json", about | {"rows": rows})
    caption = (
        "A panel a model; FLOPs are those of an answer. Each line is a method at growing numbers of samples."
    )
    image = figures.draw(table, walks.CHANCE)
    write_findings(folder, [Picture("test_time_compute", "Right answers by compute", caption, image)])
    return conclusion(table, settings.level)


def name(run: dict[str, Any]) -> str:
    """What a model is called in tables and in the picture."""
    return f"{run['d_model']:.0f} wide, {run['n_tokens'] / 1e3:.0f}k tokens"


def evaluate_run(settings: Settings, run: Path) -> list[dict[str, Any]]:
    """A row for each method and size: method, n, flops, right, lo, hi."""
    config, params = load(run)
    model = models.build(config.model)
    questions = [walks.problem(number) for number in walks.numbers()[1][: settings.n_questions]]
    prompts = [VOCAB.encode("\n" + digits) for digits, _ in questions]
    seeds = [settings.seed * 2**20 + i for i in range(len(prompts))]
    asked: dict[str, Any] = {"max_tokens": MAX_TOKENS, "eos_id": NEWLINE}
    drawn = sample(
        model, params, prompts, seeds, SamplingSettings(temperature=settings.temperature),
        n=settings.n_samples, width=512, **asked
    )  # fmt: skip
    greedy = sample(model, params, prompts, seeds, SamplingSettings(temperature=0.0), width=512, **asked)
    per_token = models.count(config.model).forward_flops_per_token(len(prompts[0]) + MAX_TOKENS)

    def row(method: str, n: int, right_Q: np.ndarray, n_new: float) -> dict[str, Any]:
        mean, se = right_Q.mean(), right_Q.std(ddof=1) / len(right_Q) ** 0.5
        reach = stats.norm.ppf(0.5 + settings.level / 2) * se
        interval = {"lo": max(mean - reach, 0.0), "hi": min(mean + reach, 1.0)}
        flops = per_token * (len(prompts[0]) + n_new)
        return {"method": method, "n": n, "flops": flops, "right": mean, "se": se} | interval

    truths = [steps[-1] for _, steps in questions]
    rows = [row(GREEDY, 1, right(greedy, truths)[:, 0], passes(greedy))]
    for k in settings.beams:
        found = beam_search(model, params, prompts, beams=k, **asked)
        rows.append(row(BEAM, k, right([[one[0]] for one in found], truths)[:, 0], passes(found)))
    right_QN = right(drawn, truths)
    for n in settings.sizes:
        n_new = n * passes(drawn) / settings.n_samples
        for method, choose in choices(questions).items():
            rows.append(row(method, n, of_groups(drawn, right_QN, n, choose), n_new))
        any_right = pass_at_k(settings.n_samples, right_QN.sum(axis=1), n)
        rows.append(row(VERIFIER, n, any_right, n_new))
    return rows


def choices(questions: list[tuple[str, str]]) -> dict[str, Callable[[int, Sequence[Any]], int]]:
    """How each method chooses among samples of question q."""

    def last_step(q: int, one: Any) -> float:
        """Whether the last step is right: a check of one line of the table, which an earlier error passes."""
        line, digits = written(one.tokens), questions[q][0]
        return float(line is not None and walks.TABLE[int(line[-2])][int(digits[-2])] == int(line[-1]))

    return {
        LIKELIEST: lambda q, some: best_of_n.likeliest(some),
        PER_TOKEN: lambda q, some: best_of_n.likeliest_per_token(some),
        REWARD: lambda q, some: best_of_n.best(some, lambda one: last_step(q, one)),
        VOTE: lambda q, some: best_of_n.majority(some, lambda one: (written(one.tokens) or [None])[-1]),
    }


def of_groups(drawn: Sequence[Sequence[Any]], right_QN: np.ndarray, n: int, choose: Callable) -> np.ndarray:
    """How often the choice among n samples is right, for each question.

    Args:
      drawn: samples of each question [Q][N].
      right_QN: which of them are right, as 0 or 1.
      n: samples to choose among; the N are cut into groups of so many.
      choose: from the question's number and its samples, the index of the choice.
    """
    starts = range(0, right_QN.shape[1] - n + 1, n)
    return np.array(
        [
            np.mean([right_QN[q, start + choose(q, some[start : start + n])] for start in starts])
            for q, some in enumerate(drawn)
        ]
    )


def right(answers: Sequence[Sequence[Any]], truths: list[str]) -> np.ndarray:
    """Whether each answer to each question is right, as 0 or 1 [Q,N]."""
    return np.array(
        [
            [int((written(one.tokens) or " ")[-1] == truth) for one in some]
            for some, truth in zip(answers, truths)
        ]
    )


def written(tokens: Sequence[int]) -> str | None:
    """The digits of a whole line, or None if it is not one."""
    line = VOCAB.decode(tokens)
    whole = len(line) == MAX_TOKENS and line[:-1].isdigit() and line[-1] == "\n"
    return line[:-1] if whole else None


def passes(answers: Sequence[Sequence[Any]]) -> float:
    """Forward passes after the prompt's that a question takes: the first token comes with the prompt's."""
    return float(np.mean([sum(len(one.tokens) - 1 for one in some) for some in answers]))


def conclusion(table: pd.DataFrame, level: float) -> str:
    """For each model, what every method reaches at its most."""
    lines = [f"fraction right (chance {walks.CHANCE}, {level:.0%} intervals), FLOPs a question:"]
    for model, of_model in table.groupby("model", sort=False):
        lines.append(f"  {model}:")
        for method, rows in of_model.groupby("method", sort=False):
            one = rows.iloc[-1]
            words = f"{method}, n = {one.n}" if one.n > 1 else method
            lines.append(f"    {words:<46} {one.right:.3f} ({one.lo:.3f} to {one.hi:.3f})  {one.flops:.2e}")
    return "\n".join(lines)
