"""Read, clean, split and tokenize a corpus, once, and say what is kept of it, what is not, and what the first
documents are as tokens. A terminal sees how far it is.

Studies do this themselves for data that are not prepared yet; what is prepared here they find. The folder of
all prepared data is ~/.cache/isoflop, or environment variable ISOFLOP_CACHE.

Example: isoflop prepare --set data.task=files --set data.path=crawl/ --set 'data.quality={}'
Example: isoflop prepare --set data.task=files --set data.path=a.parquet --set data.text_field=content
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from absl import flags

from experiments.data_configs import DataConfig
from launch.workers.process import prepare_process

N_SHOWN, TOKENS_SHOWN = 3, 24  # documents, and tokens of each

FLAGS = flags.FlagValues()
USAGE = "isoflop prepare [--set data.FIELD=VALUE …] [--json]"
flags.DEFINE_multi_string("set", [], "as of a study: data.FIELD=VALUE; may be repeated", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON: the manifest, and its folder", flag_values=FLAGS)


@dataclass(frozen=True)
class Settings:
    """What `--set` can change; a study has more."""

    data: DataConfig = field(default_factory=DataConfig)


def run(args: list[str], flags) -> int:
    """Prepares, if that has not been done, and prints what is in the manifest."""
    if args:
        raise ValueError(f"expected settings alone, got {args}; usage: {USAGE}")
    from experiments.data.cache import read_manifest
    from experiments.data.prepare import prepare
    from experiments.fields import apply_overrides

    settings = apply_overrides(Settings(), flags.set)
    prepare_process()
    folder = prepare(settings.data)
    manifest = read_manifest(folder)
    print(
        json.dumps({"folder": str(folder)} | manifest, ensure_ascii=False)
        if flags.json
        else f"{as_text(manifest)}\n{first_documents(settings.data, folder)}\nin {folder}"
    )
    return 0


def first_documents(data: DataConfig, folder: Path) -> str:
    """The first documents that are trained on: how many tokens, and the first of these, between bars."""
    from experiments.data.cache import open_cache
    from experiments.data.vocab import load_vocab
    from experiments.evaluate.terminal import printable

    cache, vocab = open_cache(folder, "train"), load_vocab(data)
    size = cache.manifest["tokenizer"]["size"]
    lines = [f"the first documents of train, in tokens of {data.vocab} ({size:,} there are):"]
    for start, end in zip(cache.offsets[:N_SHOWN], cache.offsets[1:]):
        first = cache.tokens[start : min(end, start + TOKENS_SHOWN)].tolist()
        texts = (vocab.decode([token]) or f"<{token}>" for token in first)
        pieces = printable("|".join(texts).replace("\n", "⏎").replace("\t", "⇥"))
        lines += [f"  {end - start:>6,} tokens  {pieces}{' …' if end - start > TOKENS_SHOWN else ''}"]
        lines += [f"  {'':>6}         {' '.join(map(str, first[:12]))} …"]
    return "\n".join(lines)


def as_text(manifest: dict[str, Any]) -> str:
    """What is kept by split and component, and what is not, by reason."""
    from experiments.data.sources.left_out import as_words

    lines = []
    if skipped := manifest.get("skipped"):
        lines += [f"left out while reading: {as_words(skipped)}"]
    if cleaning := manifest.get("cleaning"):
        lines += [f"cleaned: {cleaning['n_documents']:,} documents, {cleaning['n_bytes']:,} bytes"]
        dropped = {name: each for name, each in cleaning["filters"].items() if each["n_documents"]}
        for name, each in sorted(dropped.items(), key=lambda item: -item[1]["n_documents"]):
            example = each["examples"][0]
            text = " ".join(example["text"].split())[:50]
            lines += [f"  {name:<28}{each['n_documents']:>9,}  {example['reason'][:40]}: {text}"]
        found = {"documents": "equal texts", "near": "near-duplicates", "against": "shared with a test"}
        duplicates = cleaning.get("duplicates", {})
        lines += [f"  {words:<28}{duplicates[k]:>9,}" for k, words in found.items() if duplicates.get(k)]
        if duplicates.get("bytes_cut"):
            lines += [f"  {'bytes cut out of others':<28}{duplicates['bytes_cut']:>9,}"]
    lines += [f"{'kept':<30}{'documents':>12}{'tokens':>16}{'bytes':>16}"]
    for split, info in manifest["splits"].items():
        for name, part in ({"": info} | info.get("components", {})).items():
            row = "".join(f"{part[key]:>{n},}" for key, n in (("n_documents", 12), ("n_tokens", 16)))
            lines += [f"{f'  {name}' if name else split:<30}{row}{part['n_bytes']:>16,}"]
    near = sum(info["n_near_duplicates"] for info in manifest["splits"].values())
    return "\n".join(lines + ([f"{near:,} more are near-duplicates of held-out text"] if near else []))
