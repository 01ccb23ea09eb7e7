"""What a checkpoint answers to the items of a task: asked once, then read from the log."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.evaluate import response_cache
from experiments.evaluate.checkpoint_paths import cache_folder
from experiments.evaluate.tasks.task import Broken, Item, Task, prompt_of

if TYPE_CHECKING:  # imports jax, which a task whose answers are all known does without
    from experiments.evaluate.loaded_model import Subject

FORMAT = 2  # raised when the same question may get another answer
GENERATED_AT_ONCE = 64

Progress = Callable[[int, int], None]  # (done, of how many)
Opener = Callable[[], "Subject"]
Records = dict[int, dict[str, Any]]  # by number of the item


@dataclasses.dataclass(frozen=True)
class Answers:
    """Items that were asked, and what came of each; and those that could not be.

    Records, by metric: multiple_choice {"logprobs": of each choice, nats}; cloze {"logprob", "greedy"};
    exact_match {"text", "finish"}.
    """

    task: Task
    items: tuple[Item, ...]
    records: tuple[dict[str, Any], ...]
    broken: tuple[Broken, ...]


def ask(
    checkpoint: str,
    opener: Opener,
    task: Task,
    *,
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Answers:
    """Answers to the first `limit` items, those asked before from the log.

    Args:
      checkpoint: fingerprint of the checkpoint that `opener` opens, which it does only if there is something
        to ask.
      shots: solved examples before each item, drawn by `seed`.

    Raises:
      ValueError: not one of the items can be asked of this checkpoint, or more shots than the task has.
    """
    wanted = range(min(len(task.items), limit or len(task.items)))
    with response_cache.items(log_path(checkpoint, task, shots, seed)) as (known, add):
        left = [i for i in wanted if i not in known]
        if left:
            prompts = {i: prompt_of(task, i, shots, seed) for i in left}
            done = len(wanted) - len(left)
            for batch in _ask(opener(), task, prompts):
                add(batch)
                done += len(batch)
                progress(done, len(wanted))
    broken = [Broken(task.items[i].line or i + 1, known[i]["broken"]) for i in wanted if "broken" in known[i]]
    asked = [i for i in wanted if "broken" not in known[i]]
    if not asked:
        raise ValueError(
            f"{task.name}: no item can be asked of this checkpoint; the first: {broken[0].reason}"
        )
    return Answers(
        task,
        tuple(task.items[i] for i in asked),
        tuple(known[i] for i in asked),
        (*task.broken, *broken),
    )


def log_path(checkpoint: str, task: Task, shots: int, seed: int) -> Path:
    """Where answers are kept: a function of all that decides them, and not of how many are asked for."""
    asked = [task.content, task.metric, task.delimiter, task.stop, task.max_tokens, shots]
    key = json.dumps([FORMAT, checkpoint, *asked, seed if shots else 0])
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.jsonl"


def _ask(subject: "Subject", task: Task, prompts: dict[int, str]) -> Iterator[Records]:
    """Batches of records by item; what is too long for the context comes first, as broken."""
    from experiments.evaluate.tasks.loglikelihood import Row, encode_pair

    vocab, context = subject.vocab, subject.config.seq_len
    if task.metric == "exact_match":
        # A text that fills the context goes on from its last half (see `sample`); a prompt must not, so that
        # the first token of the answer counts. Of a text that is scored the last token is not read.
        places = 1
        questions = {i: [Row([vocab.eos_id, *vocab.encode(prompts[i])], [])] for i in prompts}
    else:
        places = -1
        targets = {i: task.items[i].choices if task.metric == "multiple_choice" else (task.items[i].target,)
                   for i in prompts}  # fmt: skip
        questions = {
            i: [encode_pair(vocab, prompts[i], task.delimiter + target) for target in targets[i]]
            for i in prompts
        }
    broken = {}
    for i, rows in questions.items():
        needed = max(map(len, rows)) + places
        if needed > context:
            broken[i] = {"broken": f"{needed} tokens; the context of this checkpoint is {context}"}
    if broken:
        yield broken
    fit = {i: rows for i, rows in questions.items() if i not in broken}
    yield from (_generate if task.metric == "exact_match" else _score)(subject, task, fit)


def _score(subject: "Subject", task: Task, questions: dict[int, list]) -> Iterator[Records]:
    from experiments.evaluate.tasks.loglikelihood import plan, score

    numbers = list(questions)
    for batch in plan(list(questions.values()), subject.model.config.vocab_size):
        asked = [numbers[g] for g in batch.groups]
        rows = [row for i in asked for row in questions[i]]
        scores = iter(score(subject.model, subject.params, rows, batch.shape))
        found = {}
        for i in asked:
            its = list(itertools.islice(scores, len(questions[i])))
            if task.metric == "multiple_choice":
                found[i] = {"logprobs": [one.logprob for one in its]}
            else:
                found[i] = {"logprob": its[0].logprob, "greedy": its[0].greedy}
        yield found


def _generate(subject: "Subject", task: Task, questions: dict[int, list]) -> Iterator[Records]:
    from models.decoding.sample import sample
    from models.decoding.settings import SamplingSettings
    from models.decoding.stop import StopCriteria

    stop, token_bytes = StopCriteria(strings=(task.stop,) if task.stop else ()), subject.token_bytes()
    order = sorted(questions, key=lambda i: len(questions[i][0].context))
    for first in range(0, len(order), GENERATED_AT_ONCE):
        asked = order[first : first + GENERATED_AT_ONCE]
        found = sample(
            subject.model,
            subject.params,
            [questions[i][0].context for i in asked],
            [0] * len(asked),
            SamplingSettings(temperature=0.0),
            max_tokens=task.max_tokens,
            eos_id=subject.vocab.eos_id,
            context=subject.config.seq_len,
            stop=stop,
            token_bytes=token_bytes,
        )
        yield {i: {"text": one.text, "finish": one.finish} for i, [one] in zip(asked, found)}
