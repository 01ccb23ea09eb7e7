"""Settings and runs of the study of languages."""

import dataclasses
import itertools
from dataclasses import dataclass

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig, MixtureConfig
from experiments.fields import Numbers
from experiments.studies.data.languages import corpus
from experiments.studies.data.languages.corpus import ENOUGH, KIN
from experiments.studies.study import check_statistics
from models import count, ladder

BYTES = "bytes"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    text, parallel: files of records with fields "lang" and "text", and of sentences with "id" besides.
    web_bytes: of a language there is its share of Common Crawl of so much text (and no more than in `text`).
    alphas, max_epochs: samplings by temperature 1 / alpha, and UniMax.
    alpha_apart, apart: the sampling, and the languages, that the law is checked on.
    vocab, vocab_size: the pieces that are held against bytes, at equal FLOPs.
    transfer, transfer_tokens: languages alone and in pairs, and the tokens that are read of each.
    """

    seed: int = 0
    n_seeds: int = 3
    text: str = dataclasses.field(default_factory=lambda: corpus.public_file(corpus.TEXT))
    parallel: str = dataclasses.field(default_factory=lambda: corpus.public_file(corpus.PARALLEL))
    languages: tuple[str, ...] = tuple(KIN)
    web_bytes: int = 1_100_000
    alphas: tuple[float, ...] = (1.0, 0.7, 0.3)
    max_epochs: float = 4.0
    alpha_apart: float = 0.5
    apart: tuple[str, ...] = ("sv", "is", "th")
    vocab: str = "parity_bpe"
    vocab_size: int = 1024
    transfer: tuple[str, ...] = ("es", "pt", "cs", "ru", "fi")
    transfer_tokens: int = 98_304
    n_sentences: int = 64
    d_model: int = 24
    n_tokens: int = 300_000
    lr: float = 1e-2
    seq_len: int = 128
    batch_tokens: int = 1024
    n_val_tokens: int = 16_384
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if self.n_seeds < 2:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; intervals over seeds take 2 or more")
        for name in ("languages", "apart", "transfer"):
            known = KIN if name == "languages" else self.languages
            if unknown := [code for code in getattr(self, name) if code not in known]:
                raise ValueError(f"Settings.{name}: {unknown[0]!r} is none of {', '.join(known)}")
        if len(set(self.languages) - set(self.apart)) < 3 or len(self.transfer) < 2:
            raise ValueError("Settings: give 3 languages that are not kept apart, and 2 for transfer")
        if len(self.alphas) < 2 or self.alpha_apart in self.alphas:
            raise ValueError(
                f"Settings.alphas={list(self.alphas)}, alpha_apart={self.alpha_apart}; give two or more, and "
                "another one that is kept apart"
            )
        if self.vocab == BYTES:
            raise ValueError("Settings.vocab='bytes'; it is held against bytes: parity_bpe, sentencepiece, …")

    @property
    def seeds(self) -> range:
        """Those of the runs."""
        return range(self.seed, self.seed + self.n_seeds)


@dataclass(frozen=True)
class Planned:
    """A run and what it is: `part` is "sampling", "vocabulary" or "transfer"; `sampling` its name there."""

    part: str
    sampling: str
    config: RunConfig


def corpora(settings: Settings) -> dict[str, DataConfig]:
    """The text in bytes and in pieces, by vocabulary."""
    return {
        vocab: corpus.corpus(settings.text, settings.languages, vocab, size)
        for vocab, size in ((BYTES, 259), (settings.vocab, settings.vocab_size))
    }


def samplings(settings: Settings, alphas: tuple[float, ...]) -> dict[str, MixtureConfig]:
    """The ways to sample, by name."""
    return corpus.samplings(settings.languages, alphas, settings.max_epochs, settings.web_bytes)


def first(settings: Settings, data: dict[str, DataConfig]) -> list[Planned]:
    """All runs but those of the sampling that is kept apart."""
    ways, n = samplings(settings, settings.alphas), settings.n_tokens
    in_bytes, in_pieces = (count(ladder(settings.d_model, each.vocab_size)) for each in data.values())
    worth = in_bytes.flops_per_token(settings.seq_len) / in_pieces.flops_per_token(settings.seq_len)
    planned = []
    for seed in settings.seeds:
        planned += [
            Planned("sampling", name, configure(settings, data[BYTES], way, n, seed))
            for name, way in ways.items()
        ]
        pieces = configure(settings, data[settings.vocab], ways[ENOUGH], round(n * worth), seed)
        planned.append(Planned("vocabulary", ENOUGH, pieces))
        alone = [(code,) for code in settings.transfer]
        for group in [*alone, *itertools.combinations(sorted(settings.transfer), 2)]:
            way = MixtureConfig(weights=Numbers(dict.fromkeys(group, 1.0)))
            tokens = settings.transfer_tokens * len(group)
            run = configure(settings, data[BYTES], way, tokens, seed)
            planned.append(Planned("transfer", "+".join(group), run))
    return planned


def last(settings: Settings, data: dict[str, DataConfig]) -> list[Planned]:
    """The runs of the sampling that is kept apart."""
    name = corpus.alpha_name(settings.alpha_apart)
    way = samplings(settings, (settings.alpha_apart,))[name]
    return [
        Planned("sampling", name, configure(settings, data[BYTES], way, settings.n_tokens, seed))
        for seed in settings.seeds
    ]


def configure(
    settings: Settings, data: DataConfig, mixture: MixtureConfig, n_tokens: int, seed: int
) -> RunConfig:
    """One run.

    Args:
      settings: of the study.
      data: the corpus, by its vocabulary.
      mixture: how its languages are sampled.
      n_tokens: to train on.
      seed: of the run.
    """
    return RunConfig(
        model=ladder(settings.d_model, data.vocab_size),
        data=dataclasses.replace(data, mixture=mixture),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=seed,
        n_val_tokens=settings.n_val_tokens,
    )
