"""How diverse samples are, and how new: distinct n-grams, self-BLEU, entropy, and what a corpus has of them.

SAMPLES is what `isoflop sample CKPT --prompts FILE --n N` prints: several samples to each prompt. Measures
are of the samples to a prompt, in the mean over prompts ("within"), and of all of them ("across"); they
compare for equally many samples. --corpus is what the model was trained on, as `data.path`: then also the
longest run of words that a sample has copied from one document, the share of samples that are no part of one,
and shares of n-grams that the corpus has. --by letters counts those in the place of words.

Example: isoflop diversity samples.jsonl --corpus novels.jsonl.xz
"""

import json
from collections.abc import Callable
from typing import Any

from absl import flags

from experiments.evaluate.samples.sample_output import finite

FLAGS = flags.FlagValues()
USAGE = "isoflop diversity SAMPLES [--corpus PATH]"
flags.DEFINE_string("corpus", None, "the training text: a file, a folder or a pattern", flag_values=FLAGS)
flags.DEFINE_string("text_field", "text", "of the corpus: the field that is the text", flag_values=FLAGS)
flags.DEFINE_enum("by", "words", ["words", "letters"], "what an n-gram is of", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the measures."""
    if len(args) != 1:
        raise ValueError(f"expected samples, got {args}; usage: {USAGE}")
    from experiments.evaluate.trust import diversity

    split = str.split if flags.by == "words" else list
    groups = [[split(text) for text in texts] for texts in read_texts(args[0])]
    everything = [sample for group in groups for sample in group]
    each = [diversity.measures(group) for group in groups if len(group) > 1]
    found: dict[str, Any] = {"n_prompts": len(groups), "n_samples": len(everything)}
    if each:
        found["within"] = {name: sum(one[name] for one in each) / len(each) for name in each[0]}
    found["across"] = diversity.measures(everything)
    if flags.corpus:
        found["novelty"] = against(flags.corpus, flags.text_field, everything, split)
    if flags.json:
        print(json.dumps(finite(found), indent=1))
        return 0
    print(f"{found.pop('n_samples'):,} samples of {found.pop('n_prompts'):,} prompts")
    for part, measures in found.items():
        print("\n".join([part, *(f"  {name:<15} {value:.4g}" for name, value in measures.items())]))
    return 0


def read_texts(path: str) -> list[list[str]]:
    """The texts of the samples to each prompt.

    Raises:
      ValueError: another kind of record, with file and line, or nothing that can be read.
    """
    from experiments.posttraining.data.records import records

    groups = []
    for place, record in records(path):
        samples = record.get("samples")
        if not isinstance(samples, list) or not all(isinstance(_text(one), str) for one in samples):
            raise ValueError(
                f"{place}: no 'samples' with a 'text' each (it has {', '.join(map(str, record))}); give what "
                "`isoflop sample CKPT --prompts FILE --n 4` prints"
            )
        groups.append([_text(one) for one in samples])
    return groups


def _text(one: Any) -> Any:
    return one.get("text") if isinstance(one, dict) else None


def against(corpus: str, field: str, samples: list[list[str]], split: Callable) -> dict[str, float]:
    """What `novelty.measures` says of samples against a corpus.

    Args:
      corpus: its path; field: that is the text.
      samples: words or letters of each.
      split: a text into such.
    """
    from experiments.data.sources import textfiles
    from experiments.evaluate.trust import novelty

    ids: dict[str, int] = {}

    def encoded(parts: list[str]) -> list[int]:
        return [ids.setdefault(part, len(ids)) for part in parts]

    documents = [encoded(split(document.text)) for document in textfiles.records(corpus, field)]
    return novelty.measures(novelty.suffix_array(documents), [encoded(sample) for sample in samples])
