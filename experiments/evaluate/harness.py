"""Our checkpoints under EleutherAI's lm-evaluation-harness: `pip install -e '.[lm-eval]'`.

    from experiments.evaluate.harness import run
    run(load_model(Path("out/quickstart")), ["my_task"], include_path="tasks/")

Nothing is loaded from the network unless a task does so.
"""

from typing import Any

import numpy as np
from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.tasks.loglikelihood import ScoringRow, encode_pair, score_all
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.decoding.stop import StopCriteria

MAX_TOKENS = 256  # generated where a task does not say


class HarnessModel(LM):
    """A checkpoint as the harness calls it. Only greedy generation: tasks that sample are refused."""

    def __init__(self, loaded: LoadedModel):
        super().__init__()
        self.loaded = loaded

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """(sum of log-probabilities in nats, is it what greedy decoding says) for (context, continuation).

        Raises:
          ValueError: a request longer than the model's context.
        """
        loaded, context = self.loaded, self.loaded.config.seq_len
        rows = [encode_pair(loaded.vocab, *request.args) for request in requests]
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
        """Greedy continuations up to the first of the task's `until` texts.

        Raises:
          ValueError: a task that samples.
        """
        found = []
        for request in requests:
            prompt, settings = request.args
            if settings.get("do_sample") or settings.get("temperature"):
                raise ValueError(f"a task generates with {settings}; only greedy decoding is supported")
            [[one]] = sample(
                self.loaded.model,
                self.loaded.params,
                [prompt_ids(self.loaded.vocab, prompt)],
                [0],
                SamplingSettings(temperature=0.0),
                max_tokens=settings.get("max_gen_toks", MAX_TOKENS),
                eos_id=self.loaded.vocab.eos_id,
                context=self.loaded.config.seq_len,
                stop=StopCriteria(tokens=self.loaded.end_ids),
            )
            text, until = self.loaded.vocab.decode(one.tokens), settings.get("until", [])
            for stop in [until] if isinstance(until, str) else until:
                text = text.split(stop)[0] if stop else text
            found.append(text)
        return found

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


def run(
    loaded: LoadedModel, tasks: list[str], include_path: str | None = None, **options: Any
) -> dict[str, Any]:
    """Results by task. `include_path` is a folder of task files of the user's own; then only they are known.

    `options` go to `lm_eval.simple_evaluate`, as num_fewshot= and limit=.
    """
    manager = TaskManager(include_path=include_path, include_defaults=include_path is None)
    # Its decorators hide its parameters from type checkers, where it is installed at all.
    known: Any = {"model": HarnessModel(loaded), "tasks": tasks, "task_manager": manager}
    found = simple_evaluate(**known, **options)
    assert found is not None  # it is None on other processes than the first
    return found["results"]  # pyright: ignore
