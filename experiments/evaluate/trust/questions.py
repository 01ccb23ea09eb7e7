"""A file of questions, and how consistently a checkpoint answers them.

JSON lines, each an object; all but the prompt may be left out:

    {"prompt": "Where does Ada live?", "paraphrases": ["Where is the home of Ada?"], "answer": "Oslo"}
    {"prompt": "What did Ada study?", "choices": ["Law", "Music", "Logic"], "answer": "Logic"}
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.statistics.intervals import Estimate, mean
from experiments.evaluate.tasks.loglikelihood import encode_pair, plan_batches, score_rows
from experiments.evaluate.trust import consistency, perturbations
from experiments.evaluate.trust.answers import Asking, answer

FIELDS = {"prompt": str, "paraphrases": list, "choices": list, "answer": str}
MEASURES = ("agreement", "entropy", "flips", "paraphrases", "slips", "accuracy")


@dataclass(frozen=True)
class Question:
    """What is asked; `line` is its place in the file, from 1."""

    prompt: str
    paraphrases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: str = ""
    line: int = 0


def read_questions(path: Path) -> list[Question]:
    """The questions of a file.

    Raises:
      ValueError: no such file, no question in it, or a line that is none; it names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    found = [_question(line, f"{path}:{i}", i) for i, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ValueError(f'{path}: no questions; a line of it is an object such as {{"prompt": "Who?"}}')
    return found


def _question(line: str, where: str, number: int) -> Question:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{where}: a JSON {type(values).__name__}; every line is an object with a prompt")
    for name, value in values.items():
        if name not in FIELDS:
            raise ValueError(f"{where}: unknown field {name!r}; there are {', '.join(FIELDS)}")
        texts = value if isinstance(value, list) else [value]
        if not isinstance(value, FIELDS[name]) or not all(isinstance(t, str) and t.strip() for t in texts):
            kind = "a list of texts" if FIELDS[name] is list else "a text"
            raise ValueError(f"{where}: {name}={json.dumps(value)[:60]}; it is {kind}, none of it empty")
    if "prompt" not in values:
        raise ValueError(f"{where}: no prompt; every line is an object with one")
    choices = values.get("choices", [])
    if len(choices) == 1 or len(set(choices)) < len(choices):
        raise ValueError(f"{where}: choices={json.dumps(choices)[:60]}; give two or more, all different")
    return Question(
        values["prompt"],
        tuple(values.get("paraphrases", [])),
        tuple(choices),
        values.get("answer", ""),
        number,
    )


def examine(
    checkpoint: str,
    loader: Callable[[], LoadedModel],
    questions: Sequence[Question],
    asking: Sequence[Asking],
    k: int,
    n_slips: int = 2,
) -> pd.DataFrame:
    """How each question is answered in each way of asking, against the greedy answer and its other wordings.

    A row a question and way: line, prompt, temperature, modal (the commonest answer), MEASURES, and flipped,
    {wording: its commonest answer} of wordings that get another one. Measures: agreement, entropy and flips
    (from the greedy answer) of the k answers; paraphrases and slips, how likely an answer to another wording,
    or to the prompt with one character changed, equals one to the prompt; accuracy. NaN where there is
    nothing to measure it on.

    Args:
      checkpoint: its fingerprint; answers are kept (`answers`).
      loader: loads it.
      questions: to ask.
      asking: the ways.
      k: answers to each wording in each way, 2 or more.
      n_slips: prompts with one character changed, of each question.
    """
    slips = [perturbations.one_character(q.prompt, 0, n_slips) for q in questions]
    wordings = [[q.prompt, *q.paraphrases, *s] for q, s in zip(questions, slips)]
    flat = [wording for each in wordings for wording in each]
    rows = []
    greedy = Asking(0.0, max_tokens=asking[0].max_tokens, stop=asking[0].stop)
    first = [normal(each)[0] for each in answer(checkpoint, loader, [q.prompt for q in questions], greedy, 1)]
    for way in asking:
        said = iter(answer(checkpoint, loader, flat, way, k))
        for q, reference, texts in zip(questions, first, wordings):
            answers = [normal(next(said)) for _ in texts]
            rows.append(_row(q, texts, answers, reference) | {"temperature": way.temperature})
    return pd.DataFrame(rows)


def normal(answers: Sequence[str]) -> list[str]:
    """`consistency.normalised` of each."""
    return [consistency.normalised(one) for one in answers]


def _row(q: Question, texts: list[str], answers: list[list[str]], reference: str) -> dict[str, Any]:
    own, n = answers[0], 1 + len(q.paraphrases)
    modal = [consistency.modal(each) for each in answers]
    right = consistency.normalised(q.answer)
    return {
        "line": q.line,
        "prompt": q.prompt,
        "modal": modal[0],
        "agreement": consistency.agreement(own),
        "entropy": consistency.answer_entropy(own),
        "flips": consistency.flips(own, reference),
        "paraphrases": _mean([consistency.agreement_between(own, each) for each in answers[1:n]]),
        "slips": _mean([consistency.agreement_between(own, each) for each in answers[n:]]),
        "accuracy": _mean([one == right for one in own]) if right else math.nan,
        "flipped": {text: m for text, m in zip(texts[1:], modal[1:]) if m != modal[0]},
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def in_orders(loaded: LoadedModel, questions: Sequence[Question]) -> list[dict[str, float]]:
    """`consistency.order_effects` of each question that has choices, over rotations of them: that choice is
    taken which the checkpoint finds likeliest after a prompt that lists them (`perturbations.with_choices`).

    Raises:
      ValueError: a prompt with its choices is longer than the checkpoint's context.
    """
    asked = [(q, order) for q in questions if q.choices for order in perturbations.rotations(q.choices)]
    groups = []
    for q, order in asked:
        prompt = perturbations.with_choices(q.prompt, order)
        groups.append([encode_pair(loaded.vocab, prompt, f" {choice}") for choice in order])
        if (n := max(map(len, groups[-1])) - 1) > loaded.config.seq_len:
            raise ValueError(
                f"line {q.line}: {n} tokens with its choices; the context of this checkpoint is "
                f"{loaded.config.seq_len}"
            )
    chosen: list[dict[tuple[str, ...], str]] = [{} for _ in questions]
    numbers = {id(q): i for i, q in enumerate(questions)}
    for batch in plan_batches(groups, loaded.model.config.vocab_size):
        rows = [row for g in batch.groups for row in groups[g]]
        scores = iter(score_rows(loaded.model, loaded.params, rows, batch.shape))
        for g in batch.groups:
            q, order = asked[g]
            logprobs = [next(scores).logprob for _ in order]
            chosen[numbers[id(q)]][order] = order[int(np.argmax(logprobs))]
    return [consistency.order_effects(each) for each in chosen if each]


def summary(rows: pd.DataFrame, level: float = 0.9) -> dict[float, dict[str, Estimate]]:
    """By temperature the mean of each measure over questions, with its interval over these."""
    made: dict[float, dict[str, Estimate]] = {}
    for temperature, some in rows.groupby("temperature"):
        values = {name: some[name].dropna().to_numpy(float) for name in MEASURES}
        made[float(temperature)] = {  # type: ignore[arg-type]
            name: mean(each, level=level) for name, each in values.items() if len(each)
        }
    return made
