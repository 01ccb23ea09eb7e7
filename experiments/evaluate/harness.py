"""Our checkpoints under EleutherAI's lm-evaluation-harness: `pip install -e '.[lm-eval]'`.

    isoflop evaluate out/quickstart --tasks lm_eval:arc_easy,lm_eval:my_tasks/parity

Nothing is loaded from the network unless a task does so.
"""

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
from scipy.special import ndtri

from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.loaded_model import chat_template as _template
from experiments.evaluate.statistics.intervals import Estimate
from experiments.evaluate.tasks.loglikelihood import ScoringRow, encode_pair, score_all
from experiments.posttraining.data.conversations import Turn
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.decoding.stop import StopCriteria

MAX_TOKENS = 256  # generated where a task does not say
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # by one name there and here


class HarnessModel(LM):
    """A checkpoint as the harness calls it. `seed` is of generations that are drawn."""

    def __init__(self, loaded: LoadedModel, seed: int = 0):
        super().__init__()
        self.loaded, self.seed = loaded, seed
        self._chats: dict[str, list[int]] = {}  # tokens of conversations, by the text that stands for them

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """(sum of log-probabilities in nats, is it what greedy decoding says) for (context, continuation).

        Raises:
          ValueError: a request longer than the model's context.
        """
        loaded, context = self.loaded, self.loaded.config.seq_len
        rows = [self._scored(*request.args) for request in requests]
        longest = max(map(len, rows))
        if longest > context + 1:
            raise ValueError(
                f"a request has {longest - 1} tokens; the context of this checkpoint is {context}"
            )
        return [(one.logprob, one.greedy) for one in score_all(loaded.model, loaded.params, rows)]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """Log-probability of each text in nats, every token of it predicted once (`rolling_windows`)."""
        found = []
        for request in requests:
            rows = rolling_windows(self._tokens(request.args[0]).tolist(), self.loaded.config.seq_len)
            found.append(sum(one.logprob for one in score_all(self.loaded.model, self.loaded.params, rows)))
        return found

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """Continuations up to the first of the task's `until` texts: greedy ones, unless a task says
        `do_sample` or a temperature above 0. A draw depends on the seed, the request and its place.

        Raises:
          ValueError: a setting of generation that is not known.
        """
        alike = collections.defaultdict(list)
        for i, request in enumerate(requests):
            alike[repr(sorted(request.args[1].items()))].append(i)
        said = {}
        for places in alike.values():
            prompts = [self._prompt(requests[i].args[0]) for i in places]
            seeds = np.random.SeedSequence(self.seed).generate_state(len(requests))[places]
            said |= zip(places, self._generate(prompts, seeds.tolist(), requests[places[0]].args[1]))
        return [said[i] for i in range(len(requests))]

    def _generate(self, prompts: list[list[int]], seeds: list[int], asked: dict[str, Any]) -> list[str]:
        given = dict(asked)
        until, max_tokens = given.pop("until", []), given.pop("max_gen_toks", MAX_TOKENS)
        drawn = given.pop("do_sample", None)
        if unknown := sorted(set(given) - {*SAMPLING}):
            raise ValueError(
                f"a task generates with {unknown[0]}={given[unknown[0]]!r}; known are until, max_gen_toks, "
                f"do_sample, {', '.join(SAMPLING)}"
            )
        if not drawn:
            given["temperature"] = 0.0 if drawn is False else given.get("temperature", 0.0)
        strings = [until] if isinstance(until, str) else until
        loaded = self.loaded
        samples = sample(
            loaded.model,
            loaded.params,
            prompts,
            seeds,
            SamplingSettings(**given),
            max_tokens=max_tokens,
            eos_id=loaded.vocab.eos_id,
            context=loaded.config.seq_len,
            stop=StopCriteria(tuple(filter(None, strings)), loaded.end_ids),
            token_bytes=loaded.token_bytes(),
        )
        return [one.text or "" for [one] in samples]

    @property
    def tokenizer_name(self) -> str:
        """What the harness keys its cache of requests by."""
        return repr(self.loaded.vocab)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What the harness notes of the template; raises as `loaded_model.chat_template`."""
        return _template(self.loaded).identity

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt=True) -> str:
        """A text that stands for the conversation: it is asked as the very tokens of the template, which no
        text says (end-of-text tokens have none)."""
        turns = tuple(Turn(one["role"], one["content"]) for one in chat_history)
        template = _template(self.loaded)
        tokens_T = template.prompt(turns) if add_generation_prompt else template.render(turns)[0]
        said = self.loaded.token_bytes()
        text = "".join(said[token].decode(errors="replace") or f"<{token}>" for token in tokens_T.tolist())
        self._chats[text] = tokens_T.tolist()
        return text

    def _prompt(self, text: str) -> list[int]:
        return self._chats.get(text) or prompt_ids(self.loaded.vocab, text)

    def _scored(self, context: str, continuation: str) -> ScoringRow:
        if context in self._chats:
            return ScoringRow(self._chats[context], [*self.loaded.vocab.encode(continuation)])
        return encode_pair(self.loaded.vocab, context, continuation)

    def _tokens(self, text: str) -> np.ndarray:
        vocab = self.loaded.vocab
        return np.array([*(vocab.begin_ids or (vocab.eos_id,)), *vocab.encode(text)], np.int32)


def rolling_windows(tokens: list[int], context: int) -> list[ScoringRow]:
    """What of a text is predicted from what, as the harness cuts it: windows of `context` predicted tokens,
    each after the one token before it, but that the last, shorter one has all the context that fits."""
    n = len(tokens) - 1
    return [
        ScoringRow(
            tokens[max(0, min(start, n - context)) : start + 1], tokens[start + 1 : start + 1 + context]
        )
        for start in range(0, n, context)
    ]


def run(loaded: LoadedModel, names: list[str], seed: int = 0, chat: bool = False, **options: Any) -> dict:
    """Estimates by task and metric, such as {"arc_easy": {"acc": Estimate}}; of a group of tasks, too.

    Args:
      loaded: the checkpoint.
      names: of the harness's tasks, or FOLDER/NAME for a task in a folder of task files of the user's own.
      seed: of generations that are drawn; examples are drawn by the harness's own, as published numbers are.
      chat: ask in the checkpoint's chat template.
      options: of `lm_eval.simple_evaluate`, as num_fewshot=, limit= and bootstrap_iters=.

    Raises:
      ValueError: as `check`, or a task that cannot be asked.
    """
    manager, tasks = _manager(names), [Path(name).name for name in names]
    options |= {"apply_chat_template": chat}
    # Its decorators hide its parameters from type checkers, where it is installed at all.
    known: Any = {"model": HarnessModel(loaded, seed), "tasks": tasks, "task_manager": manager}
    found = simple_evaluate(**known, log_samples=False, **options)
    assert found is not None  # it is None on other processes than the first
    by_task: dict[str, Any] = found["results"] | found.get("groups", {})  # pyright: ignore
    return {task: _estimates(metrics) for task, metrics in by_task.items()}


def check(names: list[str]) -> None:
    """Raises:
    ValueError: a name that the harness does not know, or a folder without task files, which the harness
      would search for them to any depth.
    """
    for name in names:
        if "/" in name and not any(Path(name).parent.glob("*.yaml")):
            raise ValueError(f"--tasks lm_eval:{name}: there is no task file (.yaml) in {Path(name).parent}")
    known = _manager(names).all_tasks
    for name in names:
        if Path(name).name not in known:
            raise ValueError(
                f"--tasks lm_eval:{name}: the harness has no such task; `lm-eval ls tasks` lists its own, "
                "and lm_eval:FOLDER/NAME names one in a folder of your task files"
            )


def _manager(names: list[str]) -> TaskManager:
    """What knows these tasks: the harness's own only where one is named without a folder."""
    folders: Any = sorted({str(Path(name).parent) for name in names if "/" in name})
    return TaskManager(include_path=folders or None, include_defaults=any("/" not in n for n in names))


def _estimates(metrics: dict[str, Any], level: float = 0.9) -> dict[str, Estimate]:
    """The harness's "acc,none" and "acc_stderr,none" as one estimate; the interval is the normal one of its
    standard error."""
    found = {}
    for key, value in metrics.items():
        name, _, filtered = key.partition(",")
        if filtered and not name.endswith("_stderr") and isinstance(value, int | float):
            se = metrics.get(f"{name}_stderr,{filtered}")
            se = se if isinstance(se, int | float) else math.nan
            half = ndtri((1 + level) / 2) * se
            shown = name if filtered == "none" else f"{name},{filtered}"
            found[shown] = Estimate(float(value), float(se), value - half, value + half)
    return found
