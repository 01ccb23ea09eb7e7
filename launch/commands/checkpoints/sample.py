"""Generate text from a checkpoint: the newest of a run, of a study's verification run, or Hugging Face's.

The prompt begins a document: the token that ends one is put in front of it, as in the training text, so an
empty prompt works too; with a tokenizer of Hugging Face's, what that puts there. The model never sees more
tokens than it was trained on at a time: when that many are there, it goes on from the last half of them.
Sample j depends on the prompt, the seed and j, not on --n.
On a terminal a single sample appears as it is made. A file of prompts has one JSON object a line, such as
{"prompt": "Returns the ", "seed": 7}, and gives one a line.

With --chat each prompt is what a user says, in the form in which the checkpoint was taught conversations, and
the text is the answer, up to the end of its turn. Without a prompt it is a conversation: each line of stdin
is a turn, answered in view of all before, up to Ctrl-D or as many tokens as the model was trained on.

With --schema (JSON Schema), --regex, --grammar (Lark or GBNF) or --choices every text has that form, if
--max_tokens are enough; if not, the command says so and exits with 1. --beam K prints the best of K beams,
whose log-probabilities --temperature, --top_k and the others shape, with --beam_sample of K that are drawn;
--n K --best BY the best of K samples: by log-probability, by a vote among equal answers, or by a reward.

Example: isoflop sample out/quickstart --prompt "Returns the " --temperature 0.8 --top_p 0.9 --stop "." --n 4
"""

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments.evaluate.samples import sample_output
from launch.arguments import constraint_flags
from launch.workers.worker import prepare_process

FLAGS = flags.FlagValues()
MAX_SAMPLES = 1_000_000
USAGE = "isoflop sample CKPT --prompt TEXT [flags]"
flags.DEFINE_string("prompt", None, "text to continue", flag_values=FLAGS)
flags.DEFINE_string("prompts", None, "file of prompts, one JSON object a line; - is stdin", flag_values=FLAGS)
flags.DEFINE_bool(
    "chat",
    False,
    "the prompt, or without one each line of stdin, is a user's turn; answer it",
    flag_values=FLAGS,
)
flags.DEFINE_integer("n", 1, "samples to draw", flag_values=FLAGS)
flags.DEFINE_string(
    "best", None,
    "print the best of --n: logprob, logprob_per_token, vote, gold, a reward model, or reward.py:name",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool("pick", False, "show the samples and ask which one to print", flag_values=FLAGS)
flags.DEFINE_integer("max_tokens", 200, "longest continuation, in tokens", flag_values=FLAGS)
flags.DEFINE_float("max_seconds", math.inf, "end what is unfinished after this time", flag_values=FLAGS)
flags.DEFINE_multi_string("stop", [], "end before this text", flag_values=FLAGS)
flags.DEFINE_bool(
    "share_prefix", False, "read what all prompts of --prompts begin with once", flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "seed of the random draws", flag_values=FLAGS)
KNOBS = {  # fields of `models.decoding.settings.SamplingSettings`
    "temperature": (1.0, "divides the logits; 0 is greedy: always the likeliest token"),
    "top_k": (0, "keep the k likeliest tokens; 0 keeps all"),
    "top_p": (1.0, "keep the likeliest tokens that reach this mass"),
    "min_p": (0.0, "keep tokens this likely relative to the likeliest"),
    "typical_p": (1.0, "keep the tokens of most typical information that reach this mass"),
    "epsilon_cutoff": (0.0, "keep tokens at least this likely"),
    "eta_cutoff": (0.0, "keep tokens at least this likely, or less where many are unlikely"),
    "repetition_penalty": (1.0, "above 1 makes tokens of prompt and sample less likely"),
    "presence_penalty": (0.0, "subtracted from the logits of tokens sampled before"),
    "frequency_penalty": (0.0, "subtracted for each time that a token was sampled"),
    "no_repeat_ngram_size": (0, "never say so many tokens in a row twice; 0 is off"),
    "min_tokens_to_keep": (1, "the likeliest tokens that nothing removes"),
    "min_new_tokens": (0, "do not end before so many tokens"),
}
for _name, (_default, _text) in KNOBS.items():
    (flags.DEFINE_integer if isinstance(_default, int) else flags.DEFINE_float)(
        _name, _default, _text, flag_values=FLAGS
    )
flags.DEFINE_multi_string(
    "logit_bias", [],
    "TOKENS=NUMBER is added to a token's logit, to the last of several where the text ends with the others; "
    "-inf bans",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("schema", None, "file of a JSON schema that the text must fulfil", flag_values=FLAGS)
flags.DEFINE_string("regex", None, "regular expression that the whole text must match", flag_values=FLAGS)
flags.DEFINE_string("grammar", None, "file of the text's grammar, Lark or GBNF", flag_values=FLAGS)
flags.DEFINE_list("choices", [], "the text must be one of these: A,B,…", flag_values=FLAGS)
flags.DEFINE_integer("beam", 0, "search with so many beams instead of sampling", flag_values=FLAGS)
flags.DEFINE_bool(
    "beam_sample", False, "with --beam: draw the continuations of beams, by --seed", flag_values=FLAGS
)
flags.DEFINE_enum(
    "weights", "float32", ["float32", "int8"], "int8 decodes faster on CPUs, and less exactly",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_integer("top_logprobs", 0, "with --json: show this many likeliest tokens", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print tokens, log-probabilities and finish reasons", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints `n` continuations of the prompt, or of each prompt of a file."""
    if len(args) != 1:
        raise ValueError(f"expected one run or study folder, got {args}; usage: {USAGE}")
    if flags.chat and flags["prompt"].value is None and flags["prompts"].value is None:
        return _converse(Path(args[0]), flags)
    requests, form = _checked(flags)
    prepare_process()  # before anything imports jax
    from experiments.data.vocab import prompt_ids
    from experiments.evaluate.loaded_model import chat_template, load_model
    from experiments.evaluate.samples.best_of import best_of, scores_by
    from experiments.evaluate.samples.best_of import said as chosen

    scores = scores_by(flags.best) if flags.best else None
    settings, stop = _settings(flags)
    loaded = load_model(Path(args[0]), flags.weights)
    settings, stop = _of_vocabulary(settings, stop, loaded, flags)
    if loaded.folder != Path(args[0]):
        print(f"sampling from the study's verification run, {loaded.folder}", file=sys.stderr)
    vocab, said = loaded.vocab, loaded.token_bytes()
    template = chat_template(loaded) if flags.chat else None
    prompts = [
        template.question(request["prompt"]) if template else prompt_ids(vocab, request["prompt"])
        for request in requests
    ]
    eos_id = template.end_id if template else vocab.eos_id
    shown_prompt = f"{flags.prompt}\n" if template else flags.prompt
    dim = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    stream = sys.stdout.isatty() and not (flags.json or flags.pick or flags.prompts) and flags.n == 1
    stream &= not (form or flags.beam)
    if stream:
        print(sample_output.shown_prompt(shown_prompt, dim), end="", flush=True)
    seeds = [request["seed"] for request in requests]
    groups = _decoded(loaded, prompts, seeds, eos_id, form, settings, stop, stream, flags)
    if flags.pick:
        groups = [[sample_output.pick(shown_prompt, groups[0])]]
    sample_output.warn_of_time(groups, flags.max_seconds)
    about = [{} for _ in groups]
    if scores is not None:
        found = [
            best_of(request["prompt"], some, flags.best, scores) for request, some in zip(requests, groups)
        ]
        groups, about = [[one] for one, _ in found], [{"best_of": each} for _, each in found]
        if not (flags.json or flags.prompts):
            print(chosen(found[0][1]), file=sys.stderr)
    rows = [
        {**request, "prompt_tokens": prompt, "samples": [sample_output.as_json(one, said) for one in group]}
        | more
        for request, prompt, group, more in zip(requests, prompts, groups, about)
    ]
    if flags.prompts:
        print("\n".join(json.dumps(each) for each in rows))
    elif flags.json:
        shown = {"run": str(loaded.folder), **rows[0]}
        print(json.dumps({**shown, "settings": sample_output.finite(dataclasses.asdict(settings))}, indent=1))
    else:
        print("" if stream else sample_output.as_text(shown_prompt, groups[0], dim))
        sample_output.warn_of_cut_json(groups[0])
    return sample_output.warn_of_unfulfilled(groups) if form else 0


def _decoded(
    loaded: Any,
    prompts: list[list[int]],
    seeds: list[int],
    eos_id: int,
    form: Any,
    settings: Any,
    stop: Any,
    stream: bool,
    flags,
) -> list[list[Any]]:
    """Continuations of each prompt, of the form if there is one; by beams or drawn."""
    from models.decoding.beam import beam_search
    from models.decoding.sample import sample

    model, params, said, context = loaded.model, loaded.params, loaded.token_bytes(), loaded.config.seq_len
    if flags.beam:
        found = beam_search(
            model,
            params,
            prompts,
            beams=flags.beam,
            max_tokens=constraint_flags.room(prompts, flags.max_tokens, context),
            eos_id=eos_id,
            settings=settings,
            seeds=seeds if flags.beam_sample else None,
            token_bytes=said,
        )
        return [some[: flags.n] for some in found]
    if form:
        from models.decoding.constraints.constrained_sampling import (
            sample_constrained,  # here: llguidance is not needed else
        )

        constraints = [constraint_flags.constrain(form, said, eos_id)] * len(prompts)
        limits = {"n": flags.n, "max_tokens": flags.max_tokens, "context": context}
        return sample_constrained(model, params, prompts, seeds, settings, constraints, **limits)
    return sample(
        model,
        params,
        prompts,
        seeds,
        settings,
        n=flags.n,
        max_tokens=flags.max_tokens,
        eos_id=eos_id,
        context=context,
        stop=stop,
        token_bytes=said,
        top_logprobs=flags.top_logprobs,
        every=8 if stream else None,
        watch=sample_output.show_new_text if stream else None,
        share_prefix=flags.share_prefix,
    )


def _checked(flags) -> tuple[list[dict[str, Any]], Any]:
    """What is asked for and the form that it must have; refuses, before jax comes in, what cannot be done."""
    if flags.pick:
        sample_output.check_pick(flags.n, flags.prompts)
    if flags.best and (flags.n < 2 or flags.pick or flags.beam):
        raise ValueError(
            f"--best {flags.best}: it chooses from --n samples, 2 at least, without --pick and --beam"
        )
    requests = sample_output.read_requests(flags.prompt, flags.prompts, flags.seed)
    if flags.n * len(requests) > MAX_SAMPLES:
        raise ValueError(
            f"--n {flags.n} of {len(requests)} prompts; at most {MAX_SAMPLES:,} samples are held at a "
            "time: ask several times, with other seeds"
        )
    if flags.top_logprobs and not (flags.json or flags.prompts):
        raise ValueError("--top_logprobs without --json; add that to see them")
    form = constraint_flags.read_form(flags)
    if flags.share_prefix and (form or flags.beam or not flags.prompts):
        raise ValueError("--share_prefix is for samples of --prompts, without --beam and without a form")
    if flags["beam"].present:
        constraint_flags.check_beam(flags)
    elif flags.beam_sample:
        raise ValueError("--beam_sample without --beam; say how many beams are drawn")
    return requests, form


def _converse(path: Path, flags) -> int:
    """Answers line after line."""
    alone = ("n", "pick", "best", "json", "beam", "beam_sample", "share_prefix", "top_logprobs")
    alone += constraint_flags.FORMS
    if given := [name for name in alone if flags[name].present]:
        raise ValueError(
            f"--{given[0]} with --chat and no prompt, which is a conversation; give --prompt for one turn"
        )
    prepare_process()  # before anything imports jax
    from experiments.evaluate.loaded_model import chat_template, load_model
    from experiments.evaluate.samples.conversation import converse, lines_of_user

    (settings, stop), loaded = _settings(flags), load_model(path, flags.weights)
    settings, stop = _of_vocabulary(settings, stop, loaded, flags)
    lines, stream = lines_of_user(sys.stdin.isatty()), sys.stdout.isatty()
    converse(
        *(loaded, chat_template(loaded), lines, settings, flags.seed, flags.max_tokens, stream), stop=stop
    )
    return 0


def _settings(flags) -> tuple[Any, Any]:
    """SamplingSettings and StopCriteria."""
    from models.decoding.settings import SamplingSettings
    from models.decoding.stop import StopCriteria

    knobs = {name: getattr(flags, name) for name in KNOBS}
    return SamplingSettings(**knobs), StopCriteria(tuple(flags.stop), seconds=flags.max_seconds)


def _of_vocabulary(settings: Any, stop: Any, loaded: Any, flags) -> tuple[Any, Any]:
    """The same with what needs the checkpoint's tokens: biases, and further ends of a text."""
    biases = sample_output.read_bias(flags.logit_bias, loaded.token_bytes(), loaded.vocab.encode)
    ends = (*loaded.end_ids, loaded.vocab.eos_id)  # of a text, where that of a turn is another
    return dataclasses.replace(settings, **biases), dataclasses.replace(stop, tokens=ends)
