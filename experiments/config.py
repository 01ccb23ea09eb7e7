"""A run, described by data: everything that can change its result, and nothing else."""

import functools
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.cleaning_configs import DuplicatesConfig, QualityConfig
from experiments.fields import ADDED_LATER, Numbers, to_json
from experiments.objective_configs import (
    OBJECTIVE_CONFIGS,
    ExamplesConfig,
    GoldConfig,
    InitConfig,
    LoRAConfig,
    ObjectiveConfig,
    static,
)
from models import FAMILIES, ModelConfig

NO_NUMBERS = Numbers()
COMPONENT_NAME = re.compile(r"[^\s,=/]([^,=/\n]*[^\s,=/])?")


@dataclass(frozen=True)
class StringsConfig:
    """Random strings of 1 to `max_length` symbols, which are the first `n_symbols` letters."""

    task: Literal["reverse", "copy"] = "reverse"
    n_symbols: int = 26
    max_length: int = 20

    def __post_init__(self):
        if not 1 <= self.n_symbols <= 26:
            raise ValueError(f"strings: n_symbols={self.n_symbols}; allowed are 1 to 26 letters")
        if self.max_length < 1:
            raise ValueError(f"strings: max_length={self.max_length}; it must be at least 1")


def check_name(name: str, where: str) -> str:
    """The name of a component; it becomes part of names of columns.

    Raises:
      ValueError: empty, or with a character that tables and laws give a meaning.
    """
    if not COMPONENT_NAME.fullmatch(name):
        raise ValueError(f"{where}={name!r} cannot name a component: names have no comma, = or /")
    return name


@dataclass(frozen=True)
class SourceConfig:
    """A component of task "mixture".

    name: of the component, as in `share_NAME`.
    task, path, text_field, language: where its text comes from, as of `DataConfig`.
    where: "field=value" or "field=value|value": only records whose field has such a value; "": all of them.
    """

    name: str
    task: str = "files"
    path: str = ""
    where: str = ""
    text_field: str = "text"
    language: str = field(default="", metadata=ADDED_LATER)

    def __post_init__(self):
        check_name(self.name, "source: name")
        name, equals, value = self.where.partition("=")
        if self.where and not (name and equals and value):
            raise ValueError(f"source {self.name}: where={self.where!r}; write field=value|value")


@dataclass(frozen=True)
class MixtureConfig:
    """How often each component of a corpus is read: settings of a run, not of the prepared tokens.

    weights: by component; shares of the training rows are proportional to them, and a component that is not
      named is not read. {}: shares follow from the components' tokens n, by one of the next two.
    temperature: shares are proportional to n^(1 / temperature): 1 is as much as there is, inf equal shares
      (Arivazhagan et al. 2019). Papers that write n^α mean temperature = 1 / α.
    max_epochs: above 0, UniMax instead (Chung et al. 2023): equal shares, but none is read more often than
      this. It depends on the run's n_tokens.
    unique_tokens: by component, at most so many of its tokens are read, again and again; those of a smaller
      number are among those of a larger.
    """

    weights: Numbers = NO_NUMBERS
    temperature: float = 1.0
    max_epochs: float = 0.0
    unique_tokens: Numbers = NO_NUMBERS

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"mixture: weights.{name}={weight}; weights are proportions: finite, and at least 0"
                )
        if self.weights and not any(self.weights.values()):
            raise ValueError(f"mixture: all weights are 0 ({', '.join(self.weights)}); nothing would be read")
        if not self.temperature > 0:
            raise ValueError(f"mixture: temperature={self.temperature}; it must be above 0")
        if not 0 <= self.max_epochs < math.inf:
            raise ValueError(f"mixture: max_epochs={self.max_epochs}; it must be above 0, or 0 for no UniMax")
        if bool(self.weights) + (self.temperature != 1) + (self.max_epochs > 0) > 1:
            raise ValueError("mixture: weights, temperature and max_epochs exclude each other; give one")
        for name, n in self.unique_tokens.items():
            if not n >= 1:
                raise ValueError(f"mixture: unique_tokens.{name}={n}; it must be at least 1")


@dataclass(frozen=True)
class ModelMadeConfig:
    """A training corpus: documents of a source of known entropy, `n_real` from document `first` on and the
    next `n_rephrased` in other words, and the first `n_sampled` that each of `runs` (ids) says."""

    source: str = "zipf_skills"
    first: int = 0
    n_real: int = 0
    n_rephrased: int = 0
    runs: tuple[str, ...] = ()
    n_sampled: int = 0

    def __post_init__(self):
        if self.n_real + self.n_rephrased + self.n_sampled * len(self.runs) < 1:
            raise ValueError("model_made: no documents; give n_real, n_rephrased, or runs with n_sampled")


@dataclass(frozen=True)
class DataConfig:
    """Text and vocabulary. `path` is for task "files"; `fingerprint` is the sha256 of the prepared tokens:
    filled in when a study is planned, checked when a run opens them ("" accepts whatever is there);
    `strings` is for task "strings", None the default ones; `text_field` is the field or column of records
    that is their text; `language` is for task "mc4". `vocab` is bytes, sentencepiece, unigram, parity_bpe, or
    the path of a tokenizer.json.

    A corpus may have components: the `sources` of task "mixture", or, of any other task, the values of a
    field `by` of its records. `mixture` says how often a run reads each; None: as much as there is of it.

    `quality` says which documents are good enough to be kept, `duplicates` which are there once too often;
    None keeps all but near-duplicates of held-out text, which never are in training. `model_made` is for task
    "model_made"."""

    task: str = "docstrings"
    path: str = ""
    vocab: str = "bytes"
    vocab_size: int = 259
    fingerprint: str = ""
    strings: StringsConfig | None = field(default=None, metadata=ADDED_LATER)
    text_field: str = field(default="text", metadata=ADDED_LATER)
    language: str = field(default="", metadata=ADDED_LATER)
    sources: tuple[SourceConfig, ...] = field(default=(), metadata=ADDED_LATER)
    by: str = field(default="", metadata=ADDED_LATER)
    mixture: MixtureConfig | None = field(default=None, metadata=ADDED_LATER)
    quality: QualityConfig | None = field(default=None, metadata=ADDED_LATER)
    duplicates: DuplicatesConfig | None = field(default=None, metadata=ADDED_LATER)
    model_made: ModelMadeConfig | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self):
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"data.sources: {', '.join(names)}; each component has a name of its own")
        if bool(self.sources) != (self.task == "mixture"):
            raise ValueError(
                f"data.task={self.task!r} with {len(self.sources)} data.sources; task 'mixture' is made of "
                "sources, and no other"
            )
        if bool(self.model_made) != (self.task == "model_made"):
            raise ValueError(f"data.task={self.task!r}: data.model_made goes with task 'model_made' alone")
        if self.sources and self.by:
            raise ValueError(f"data.by={self.by!r} with data.sources; components are the one or the other")
        if self.mixture and not self.has_components:
            raise ValueError(
                "data.mixture: this corpus has no components; give data.by=FIELD, or data.task=mixture and "
                "data.sources"
            )

    @property
    def has_components(self) -> bool:
        """Whether its tokens are grouped by component."""
        return bool(self.sources or self.by)


@dataclass(frozen=True)
class OptimizerConfig:
    """All numbers are traced arguments of the compiled step; only `name` is static."""

    lr: float
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    name: str = "adamw"

    def __post_init__(self):
        if not 0 < self.lr < math.inf:
            raise ValueError(f"optimizer: lr={self.lr}; it must be positive and finite")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optimizer: {name}={getattr(self, name)}; allowed are 0 to less than 1")
        for name in ("eps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"optimizer: {name}={getattr(self, name)}; it must be 0 or more, and finite")
        if not self.clip_norm > 0:
            raise ValueError(
                f"optimizer: clip_norm={self.clip_norm}; it must be positive (inf turns clipping off)"
            )


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the run: `warmup`, `decay` are fractions of all steps, `final` one of the peak.

    `warmup_tokens`, if not 0, is the length of the warm-up in the place of `warmup`: runs of any length then
    begin alike, and under "wsd" share all steps before the first decay (`RunConfig.prefix_key`).
    """

    name: Literal["wsd", "cosine"] = "wsd"
    warmup: float = 0.05
    decay: float = 0.3
    final: float = 0.0
    warmup_tokens: int = field(default=0, metadata=ADDED_LATER)

    def __post_init__(self):
        if self.name not in ("wsd", "cosine"):
            raise ValueError(f"schedule: name={self.name!r}; allowed are 'wsd' and 'cosine'")
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1):
            raise ValueError(
                f"schedule: warmup={self.warmup}, decay={self.decay}; "
                "they are fractions of the run whose sum is at most 1"
            )
        if self.warmup_tokens < 0:
            raise ValueError(f"schedule: warmup_tokens={self.warmup_tokens}; it must not be negative")


@dataclass(frozen=True)
class Recipe:
    """What of a training step's program is not the network, optimizer or schedule; floats are traced.

    A run of reinforcement learning reads the rest when it starts: `reward_model` is the network of the reward
    model, `gold` a world if the true reward is known (one for all worlds), `eos_id` the token that ends a
    response.
    """

    objective: ObjectiveConfig | None = None
    train: tuple[str, ...] = ()
    last_layers: int = 0
    lora: LoRAConfig | None = None
    micro_batches: int = 1
    reward_model: ModelConfig | None = None
    gold: GoldConfig | None = None
    eos_id: int = 1


@dataclass(frozen=True)
class RunConfig:
    """One training run on `n_tokens` tokens, in batches of `batch_tokens` tokens made of rows of `seq_len`.

    `n_val_tokens` is the fixed, leading part of the validation split that every evaluation reads.

    A run may start from a checkpoint (`init`) and train for something else than the next token of `data`
    (`objective`), on `examples`; `data` is then still the vocabulary. A batch in `micro_batches` parts takes
    the memory of one of them, and gives the same gradient.
    """

    model: ModelConfig = field(
        metadata={"by": ("family", {name: family.Config for name, family in FAMILIES.items()})}
    )
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    batch_tokens: int
    seq_len: int
    n_tokens: int
    seed: int = 0
    n_val_tokens: int = 131_072
    init: InitConfig | None = field(default=None, metadata=ADDED_LATER)
    examples: ExamplesConfig | None = field(default=None, metadata=ADDED_LATER)
    objective: ObjectiveConfig | None = field(
        default=None, metadata=ADDED_LATER | {"by": ("kind", OBJECTIVE_CONFIGS)}
    )
    micro_batches: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self):
        for name in ("batch_tokens", "seq_len", "n_tokens", "n_val_tokens", "micro_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"run: {name}={getattr(self, name)}; it must be at least 1")
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"run: seed={self.seed}; allowed are integers of 64 bits")
        if self.batch_tokens % self.seq_len:
            raise ValueError(
                f"run: batch_tokens={self.batch_tokens} is not a multiple of seq_len={self.seq_len}; "
                "a batch holds whole rows"
            )
        if self.n_tokens < self.batch_tokens:
            raise ValueError(
                f"run: n_tokens={self.n_tokens} is less than one batch of {self.batch_tokens} tokens; "
                "train for at least one step"
            )
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"run: micro_batches={self.micro_batches} does not divide the batch's {self.batch_size} rows"
            )
        if self.objective and not self.examples:
            raise ValueError(
                f"run: objective {self.objective.kind!r} without examples; say what it is trained on"
            )
        if self.objective and self.init and self.init.optimizer == "keep":
            raise ValueError(
                f"run: init.optimizer='keep' with objective {self.objective.kind!r}; only pretraining goes "
                "on with the optimizer's state"
            )
        if self.examples and not self.objective:
            raise ValueError(f"run: examples {self.examples.task!r} without an objective; say what for")
        if self.schedule.warmup_tokens > (1 - self.schedule.decay) * self.n_tokens:
            raise ValueError(
                f"schedule: warmup_tokens={self.schedule.warmup_tokens} and decay={self.schedule.decay} are "
                f"more than the run's n_tokens={self.n_tokens}; shorten one of them"
            )

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return self.batch_tokens // self.seq_len

    @property
    def n_steps(self) -> int:
        """Optimizer steps: n_tokens in whole batches, rounded to the nearest."""
        return max(1, round(self.n_tokens / self.batch_tokens))

    @functools.cached_property
    def as_json(self) -> dict[str, Any]:
        """`to_json` of it, computed once; not to be changed."""
        return to_json(self)

    @property
    def run_id(self) -> str:
        """First 12 hex digits of the sha256 of the configuration: equal exactly for equal runs."""
        return _digest(self.as_json)

    @property
    def shape_key(self) -> str:
        """Equal for runs that one compiled training step serves: they differ in traced values only."""
        static = [self.as_json["model"], self.optimizer.name, self.schedule.name]
        sizes: list[Any] = [self.batch_size, self.seq_len]
        if self.recipe != Recipe():
            sizes.append(to_json(self.recipe))
        return json.dumps([*static, *sizes], sort_keys=True)

    @property
    def recipe(self) -> Recipe:
        """What of a step's program is not the network, optimizer or schedule."""
        init = self.init or InitConfig("none")
        lora = static(init.lora) if init.lora else None
        objective = static(self.objective) if self.objective else None
        # The true reward is the same in all worlds; their sizes and noises would compile it again.
        gold = GoldConfig() if self.examples and self.examples.task == "gold" else None
        return Recipe(objective, init.train, init.last_layers, lora, self.micro_batches, gold=gold)

    @property
    def pack_key(self) -> str:
        """Equal for runs that may train as one vmapped program: of one shape, data and length."""
        values = dict(self.as_json)
        del values["seed"]
        static_parts: dict[str, Any] = {"optimizer": self.optimizer.name, "schedule": self.schedule.name}
        if self.objective:
            static_parts["objective"] = to_json(self.recipe.objective)
        return _digest(values | static_parts)

    @property
    def prefix_key(self) -> str:
        """Equal for runs that take the same steps, to the bit, as long as none of them decays; "": no others.

        They differ in their length, and in how they decay. Needs warm-ups that do not depend on the length.
        """
        by_length = self.data.mixture is not None and self.data.mixture.max_epochs > 0  # whose shares are
        if self.schedule.name != "wsd" or not self.schedule.warmup_tokens or by_length:
            return ""
        values = dict(self.as_json)
        del values["n_tokens"]
        return _digest(values | {"schedule": self.schedule.warmup_tokens})

    @property
    def branch_step(self) -> int:
        """Steps before the learning rate's decay begins; never the run's last step.

        The schedule is read at the middle of a step, in float32: a step that rounding could move into the
        decay is left to the decay.
        """
        n_stable = (1 - self.schedule.decay) * self.n_steps + 0.5 - 1e-6 * self.n_steps
        return max(0, min(self.n_steps - 1, int(n_stable)))


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
