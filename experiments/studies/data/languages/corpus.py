"""The languages that have parallel sentences, how much text the web has of each, and ways to sample them."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from experiments.config import RunConfig
from experiments.data.batches.mixtures.schedule import schedule
from experiments.data.batches.mixtures.weights import shares
from experiments.data.composition.web_languages import LANGUAGES
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers

# Branch and script of each language: those of one branch are related.
KIN = {
    "en": ("Germanic", "Latin"),
    "de": ("Germanic", "Latin"),
    "sv": ("Germanic", "Latin"),
    "is": ("Germanic", "Latin"),
    "fr": ("Romance", "Latin"),
    "es": ("Romance", "Latin"),
    "it": ("Romance", "Latin"),
    "pt": ("Romance", "Latin"),
    "gl": ("Romance", "Latin"),
    "ru": ("Slavic", "Cyrillic"),
    "cs": ("Slavic", "Latin"),
    "pl": ("Slavic", "Latin"),
    "fi": ("Uralic", "Latin"),
    "tr": ("Turkic", "Latin"),
    "id": ("Malayic", "Latin"),
    "ar": ("Semitic", "Arabic"),
    "hi": ("Indo-Aryan", "Devanagari"),
    "th": ("Tai", "Thai"),
    "zh": ("Sinitic", "Chinese"),
    "ja": ("Japonic", "Japanese"),
    "ko": ("Koreanic", "Korean"),
}
ENOUGH = "enough"  # equal shares of all text there is: what the other samplings are held against
UNIMAX = "UniMax"
REPEATS_WORTH = 15.4  # R_D of Muennighoff et al. 2023, as published
CORPORA = "corpora"  # of the public data
TEXT, PARALLEL = "multilingual_train.jsonl.xz", "pud.jsonl.xz"


def public_file(name: str) -> str:
    """A corpus of the public data (environment variable ISOFLOP_PUBLIC_DATA, else ../shared/data)."""
    return str(Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")).absolute() / CORPORA / name)


def check_files(text: str, parallel: str) -> None:
    """Raises ValueError, with what to do, if one of the two files is not there."""
    for name, path in (("text", text), ("parallel", parallel)):
        if not Path(path).exists():
            raise ValueError(
                f"Settings.{name}: there is no {path}; set ISOFLOP_PUBLIC_DATA to the folder that has "
                f"{CORPORA}/{TEXT} and {CORPORA}/{PARALLEL}, or give files of yours (a lang for each text, "
                "and for each parallel sentence an id): --set text=FILE --set parallel=FILE"
            )


def corpus(path: str, languages: tuple[str, ...], vocab: str, vocab_size: int) -> DataConfig:
    """The text of each language as a component of its own.

    Args:
      path: of records with a field "lang".
      languages: by code; others in the file are left out.
      vocab, vocab_size: as of `DataConfig`.
    """
    sources = tuple(SourceConfig(name, "files", path, where=f"lang={name}") for name in languages)
    return DataConfig("mixture", vocab=vocab, vocab_size=vocab_size, sources=sources)


def samplings(
    languages: tuple[str, ...], alphas: tuple[float, ...], max_epochs: float, web_bytes: int
) -> dict[str, MixtureConfig]:
    """The ways to sample by name: by temperature, UniMax, and equal shares of text that is not scarce.

    All but the last have only as much of a language as a web of `web_bytes` bytes: its share of Common Crawl.

    Args:
      languages: by code.
      alphas: shares are proportional to tokens^alpha; alpha is one over the temperature.
      max_epochs: of UniMax.
      web_bytes: of all languages of the world.
    """
    scarce = Numbers({name: float(round(web_bytes * (LANGUAGES[name].share or 0))) for name in languages})
    by_alpha = {
        alpha_name(alpha): MixtureConfig(temperature=1 / alpha, unique_tokens=scarce) for alpha in alphas
    }
    return by_alpha | {
        UNIMAX: MixtureConfig(max_epochs=max_epochs, unique_tokens=scarce),
        ENOUGH: MixtureConfig(weights=Numbers(dict.fromkeys(languages, 1.0))),
    }


def alpha_name(alpha: float) -> str:
    """Of a way to sample by temperature."""
    return f"α = {alpha:g}"


def amounts(config: RunConfig, tokens: Mapping[str, int]) -> dict[str, tuple[int, float]]:
    """Of each language, tokens that a run reads of it, and what they are worth: as many as there are
    different ones count whole, and repeats less and less (Muennighoff et al. 2023, arXiv 2305.16264); at
    least 1, since laws take logarithms and a short run may have no row of a language.

    Args:
      config: of the run.
      tokens: that there are of each language to train on.
    """
    mixture = config.data.mixture or MixtureConfig()
    there = {name: min(n, int(mixture.unique_tokens.get(name, n))) for name, n in tokens.items()}
    rows = schedule(shares(mixture, there, config.n_tokens)).rows_until(config.n_steps * config.batch_size)
    read = dict(zip(there, (rows * config.seq_len).tolist()))
    return {name: (n, max(1.0, worth(n, there[name]))) for name, n in read.items()}


def worth(n_tokens: float, unique: float) -> float:
    """D' of so many tokens, of which so many are different ones."""
    if n_tokens <= unique:
        return n_tokens
    return unique * (1 - REPEATS_WORTH * math.expm1((1 - n_tokens / unique) / REPEATS_WORTH))


def web_share(language: str) -> float:
    """Of Common Crawl's pages."""
    return LANGUAGES[language].share or 0.0


def kinship(one: str, other: str) -> str:
    """Whether two languages are related, and written alike."""
    (branch, script), (other_branch, other_script) = KIN[one], KIN[other]
    if branch != other_branch:
        return "unrelated"
    return "related, same script" if script == other_script else "related, other script"
