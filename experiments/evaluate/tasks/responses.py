"""What a checkpoint responds to the items of a task: computed once, then read from the response cache."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.evaluate import response_cache
from experiments.evaluate.tasks.task import InvalidItem, Item, Task, build_prompt
from experiments.files import cache_folder

if TYPE_CHECKING:  # imports jax, which a task whose responses are all cached does without
    from experiments.evaluate.loaded_model import LoadedModel

FORMAT = 4  # raised when the same item may get another response
GENERATED_AT_ONCE = 64

Progress = Callable[[int, int], None]  # (done, of how many)
Loader = Callable[[], "LoadedModel"]
Records = dict[int, dict[str, Any]]  # by number of the item


@dataclasses.dataclass(frozen=True)
class Responses:
    """The items of a task, what a checkpoint responded to each, and the items it could not be given.

    Records, by metric: multiple_choice {"logprobs": of each choice, nats}; cloze {"logprob", "greedy"};
    exact_match {"text", "finish"}.
    """

    task: Task
    items: tuple[Item, ...]
    records: tuple[dict[str, Any], ...]
    invalid: tuple[InvalidItem, ...]


def collect_responses(
    checkpoint: str,
    loader: Loader,
    task: Task,
    *,
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Responses:
    """Responses to the first `limit` items; those of earlier calls come from the cache.

    Args:
      checkpoint: fingerprint of the checkpoint that `loader` loads, if a response is missing.
      task: items, and how they are posed.
      shots: solved examples before each item, drawn by `seed`.
      limit: items, from the first on; None for all.
      progress: called with (items done, of how many) after each batch.

    Raises:
      ValueError: not one of the items can be asked of this checkpoint, or more shots than the task has.
    """
    wanted = range(min(len(task.items), limit or len(task.items)))
    with response_cache.open_records(cache_path(checkpoint, task, shots, seed)) as (known, add):
        left = [i for i in wanted if i not in known]
        if left:
            prompts = {i: build_prompt(task, i, shots, seed) for i in left}
            done = len(wanted) - len(left)
            for batch in _respond(loader(), task, prompts):
                add(batch)
                done += len(batch)
                progress(done, len(wanted))
    invalid = [
        InvalidItem(task.items[i].line or i + 1, known[i]["broken"]) for i in wanted if "broken" in known[i]
    ]
    asked = [i for i in wanted if "broken" not in known[i]]
    if not asked:
        raise ValueError(
            f"{task.name}: no item can be asked of this checkpoint; the first: {invalid[0].reason}"
        )
    return Responses(
        task,
        tuple(task.items[i] for i in asked),
        tuple(known[i] for i in asked),
        (*task.invalid, *invalid),
    )


def cache_path(checkpoint: str, task: Task, shots: int, seed: int) -> Path:
    """Where responses are kept: a function of all that decides them, and not of how many are asked for.

    Args:
      checkpoint: its fingerprint.
      task: with its items.
      shots: solved examples before each prompt.
      seed: of the examples.
    """
    asked = [task.content, task.metric, task.delimiter, task.stop, task.max_tokens, shots]
    key = json.dumps([FORMAT, checkpoint, *asked, seed if shots else 0])
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.jsonl"


def _respond(loaded: "LoadedModel", task: Task, prompts: dict[int, str]) -> Iterator[Records]:
    """Batches of records by item; what is too long for the context comes first, as invalid."""
    from experiments.data.vocab import prompt_ids
    from experiments.evaluate.tasks.loglikelihood import ScoringRow, encode_choices

    vocab, context = loaded.vocab, loaded.config.seq_len
    if task.metric == "exact_match":
        # A text that fills the context goes on from its last half (see `sample`); a prompt must not, so that
        # the first token of the answer counts. Of a text that is scored the last token is not read.
        places = 1
        questions = {i: [ScoringRow(prompt_ids(vocab, prompts[i]), [])] for i in prompts}
    else:
        places = -1
        targets = {i: task.items[i].choices if task.metric == "multiple_choice" else (task.items[i].target,)
                   for i in prompts}  # fmt: skip
        questions = {
            i: encode_choices(vocab, prompts[i], [task.delimiter + target for target in targets[i]])
            for i in prompts
        }
    invalid = {}
    for i, rows in questions.items():
        needed = max(map(len, rows)) + places
        if needed > context:
            invalid[i] = {"broken": f"{needed} tokens; the context of this checkpoint is {context}"}
    if invalid:
        yield invalid
    fit = {i: rows for i, rows in questions.items() if i not in invalid}
    yield from (_generate if task.metric == "exact_match" else _score_continuations)(loaded, task, fit)


def _score_continuations(loaded: "LoadedModel", task: Task, questions: dict[int, list]) -> Iterator[Records]:
    from experiments.evaluate.tasks.loglikelihood import plan_batches, score_rows

    numbers = list(questions)
    for batch in plan_batches(list(questions.values()), loaded.model.config.vocab_size):
        asked = [numbers[g] for g in batch.groups]
        rows = [row for i in asked for row in questions[i]]
        scores = iter(score_rows(loaded.model, loaded.params, rows, batch.shape))
        found = {}
        for i in asked:
            its = list(itertools.islice(scores, len(questions[i])))
            if task.metric == "multiple_choice":
                found[i] = {"logprobs": [one.logprob for one in its]}
            else:
                found[i] = {"logprob": its[0].logprob, "greedy": its[0].greedy}
        yield found


def _generate(loaded: "LoadedModel", task: Task, questions: dict[int, list]) -> Iterator[Records]:
    from models.decoding.sample import sample
    from models.decoding.settings import SamplingSettings
    from models.decoding.stop import StopCriteria

    stop = StopCriteria(strings=(task.stop,) if task.stop else (), tokens=loaded.end_ids)
    token_bytes = loaded.token_bytes()
    order = sorted(questions, key=lambda i: len(questions[i][0].context))
    for first in range(0, len(order), GENERATED_AT_ONCE):
        asked = order[first : first + GENERATED_AT_ONCE]
        found = sample(
            loaded.model,
            loaded.params,
            [questions[i][0].context for i in asked],
            [0] * len(asked),
            SamplingSettings(temperature=0.0),
            max_tokens=task.max_tokens,
            eos_id=loaded.vocab.eos_id,
            context=loaded.config.seq_len,
            stop=stop,
            token_bytes=token_bytes,
        )
        yield {i: {"text": one.text, "finish": one.finish} for i, [one] in zip(asked, found)}
