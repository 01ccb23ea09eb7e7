"""Teaching a model questions whose answers it knows, or does not (Gekhman et al. 2024, arXiv 2405.05904), and
a little of what it knows afterwards (arXiv 2511.02626)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources import biographies
from experiments.data.sources.biographies import ATTRIBUTES, Person
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.evaluate.trust import hallucination
from experiments.evaluate.trust.hallucination import CATEGORIES
from experiments.objective_configs import ExamplesConfig, InitConfig, QuestionsConfig, SFTConfig
from experiments.posttraining.data import questions
from experiments.studies.trust.hallucination.asked import world_of

# Exposures of the people whom training is about: all of them are known, half, or none.
MIXES = ((64, 128), (0, 128), (0, 1))
LR, ROWS, SEQ_LEN, TEMPLATE = 3e-3, 2, 128, "gold"
TESTED = 16  # exposures of known people, at least, whom training is not about

Taught = tuple[RunConfig, tuple[int, ...], int, RunConfig]  # start, exposures, steps, run


def configure(start: RunConfig, source: RunConfig, drawn: QuestionsConfig, n_steps: int) -> RunConfig:
    """Supervised fine-tuning on questions about people.

    Args:
      start: the pretrained run.
      source: the run that it goes on from.
      drawn: the questions.
      n_steps: of it.
    """
    return RunConfig(
        model=start.model,
        data=start.data,
        optimizer=OptimizerConfig(lr=LR, b2=0.99, weight_decay=0.0),
        schedule=ScheduleConfig(warmup=0.05, decay=0.0),
        batch_tokens=ROWS * SEQ_LEN,
        seq_len=SEQ_LEN,
        n_tokens=n_steps * ROWS * SEQ_LEN,
        seed=start.seed,
        n_val_tokens=4 * SEQ_LEN,
        init=InitConfig(source.run_id),
        examples=ExamplesConfig("biographies", template=TEMPLATE, questions=drawn),
        objective=SFTConfig(),
    )


def taught(starts: Iterable[RunConfig], steps: Sequence[int]) -> list[Taught]:
    """Each of the starts on each mix, for few steps and for many."""
    return [
        (start, mix, n, configure(start, start, QuestionsConfig(mix), n))
        for start in starts
        for mix in MIXES
        for n in steps
    ]


def repaired(starts: Iterable[RunConfig], steps: Sequence[int]) -> list[Taught]:
    """What was taught nothing but unknown facts for many steps, on known ones for few."""
    few, many = steps
    *_, unknown = MIXES

    def after(start: RunConfig) -> RunConfig:
        return configure(start, start, QuestionsConfig(unknown), many)

    return [
        (start, unknown, few, configure(start, after(start), QuestionsConfig((128,)), few))
        for start in starts
    ]


def measured(folder: Path, starts: Sequence[RunConfig], steps: Sequence[int]) -> pd.DataFrame:
    """A row a run: seed, mix, steps, repaired; n, the facts it was taught, share_unknown and share_known
    (HighlyKnown) of them by what the start said; fitted_unknown and fitted_known, the shares it answers
    rightly now; and accuracy on known facts that it was not taught, which is 1 before.

    Args:
      folder: of the study.
      starts: pretrained runs.
      steps: of fine-tuning, few and many.
    """
    rows: list[dict[str, Any]] = []
    for start in starts:
        before = load_model(folder / "runs" / start.run_id)
        about = [(*each, False) for each in taught([start], steps)]
        about += [(*each, True) for each in repaired([start], steps)]
        held_out = QuestionsConfig(tuple(n for n in world_of(start).exposures if n >= TESTED))
        tested = [p for p, _ in questions.people(world_of(start), held_out, "validation")]
        known = right(before, tested)
        for _, mix, n_steps, run, is_repaired in about:
            loaded = load_model(folder / "runs" / run.run_id)
            of = [p for p, _ in questions.people(world_of(start), QuestionsConfig(mix), "train")]
            kinds, now = kinds_of(before, of), right(loaded, of)
            unknown, sure = kinds == CATEGORIES.index("Unknown"), kinds == CATEGORIES.index("HighlyKnown")
            row = {"seed": start.seed, "mix": "+".join(map(str, mix)), "steps": n_steps}
            row |= {"repaired": is_repaired, "n": len(kinds), "n_tested": int(known.sum())}
            row |= {"share_unknown": float(unknown.mean()), "share_known": float(sure.mean())}
            row |= {"fitted_unknown": mean(now[unknown]), "fitted_known": mean(now[sure])}
            rows.append(row | {"accuracy": mean(right(loaded, tested)[known])})
    return pd.DataFrame(rows)


def mean(values: np.ndarray) -> float:
    """Mean, NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def asked(
    loaded: LoadedModel, people: Sequence[Person], wording: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """By attribute: log-probabilities of all values behind the question, and which is true.

    Args:
      loaded: who is asked.
      people: of whom.
      wording: of the question.
    """
    logps, truths = [], []
    for attribute, known in ATTRIBUTES.items():
        prompts = [biographies.question(person, attribute, wording).prompt for person in people]
        logps.append(hallucination.answer_logps(loaded, prompts, known.pool))
        truths.append(np.array([known.pool.index(person.facts[attribute]) for person in people]))
    return logps, truths


def right(loaded: LoadedModel, people: Sequence[Person]) -> np.ndarray:
    """bool[attributes × people]: whether the true value is the likeliest behind the question."""
    return np.concatenate([logps.argmax(axis=1) == truth for logps, truth in zip(*asked(loaded, people, 0))])


def kinds_of(loaded: LoadedModel, people: Sequence[Person], n_samples: int = 8) -> np.ndarray:
    """int[attributes × people]: which of `hallucination.CATEGORIES` a fact is of, by both wordings."""
    (first, truths), (second, _) = (asked(loaded, people, wording) for wording in (0, 1))
    each = zip(first, second, truths)
    return np.concatenate([hallucination.categories(np.stack([a, b]), t, n_samples, 0) for a, b, t in each])
