"""A run, described by data: everything that can change its result, and nothing else."""

import functools
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.data_configs import DataConfig
from experiments.fields import ADDED_LATER, json_by_field, sorted_json, to_json
from experiments.objective_configs import (
    OBJECTIVE_CONFIGS,
    ExamplesConfig,
    GoldConfig,
    InitConfig,
    LoRAConfig,
    ObjectiveConfig,
    static,
)
from models import ModelConfig
from models.configs import CONFIGS

MAX_BATCH_TOKENS = 2**28
KNOWN_OPTIMIZERS = ("adamw", "muon", "lion")  # of experiments/training/optim.py, told without loading it


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
    `decay_power` bends the decay of "wsd": 1 is a line, 0.5 falls fast first ("1-sqrt", Hägele et al. 2024,
    arXiv 2405.18392), 2 falls late.
    """

    name: Literal["wsd", "cosine"] = "wsd"
    warmup: float = 0.05
    decay: float = 0.3
    final: float = 0.0
    warmup_tokens: int = field(default=0, metadata=ADDED_LATER)
    decay_power: float = field(default=1.0, metadata=ADDED_LATER)

    def __post_init__(self):
        if self.name not in ("wsd", "cosine"):
            raise ValueError(f"schedule: name={self.name!r}; allowed are 'wsd' and 'cosine'")
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1):
            raise ValueError(
                f"schedule: warmup={self.warmup}, decay={self.decay}; "
                "they are fractions of the run whose sum is at most 1"
            )
        if not 0 < self.decay_power < math.inf:
            raise ValueError(f"schedule: decay_power={self.decay_power}; it must be positive and finite")
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

    model: ModelConfig = field(metadata={"by": ("family", CONFIGS)})
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
        if self.batch_tokens > MAX_BATCH_TOKENS:
            raise ValueError(
                f"run: batch_tokens={self.batch_tokens}; it must be at most {MAX_BATCH_TOKENS:,}, as a batch "
                "is made as one array"
            )
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
        return {name: value for name, (value, _) in self._by_field.items()}

    @functools.cached_property
    def _by_field(self) -> dict[str, tuple[Any, str]]:
        return json_by_field(self)

    def _texts(self, *without: str) -> dict[str, str]:
        """Its fields as text of JSON."""
        return {name: text for name, (_, text) in self._by_field.items() if name not in without}

    @functools.cached_property
    def run_id(self) -> str:
        """First 12 hex digits of the sha256 of the configuration: equal exactly for equal runs."""
        return _digest(self._texts())

    @property
    def shape_key(self) -> str:
        """Equal for runs that one compiled training step serves: they differ in traced values only."""
        static: list[Any] = [self.optimizer.name, self.schedule.name, self.batch_size, self.seq_len]
        if self.recipe != Recipe():
            static.append(to_json(self.recipe))
        return f"[{self._by_field['model'][1]}, {sorted_json(static)[1:]}"

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
        static: dict[str, Any] = {"optimizer": self.optimizer.name, "schedule": self.schedule.name}
        if self.objective:
            static["objective"] = to_json(self.recipe.objective)
        texts = {name: sorted_json(value) for name, value in static.items()}
        return _digest(self._texts("seed") | texts)

    @property
    def prefix_key(self) -> str:
        """Equal for runs that take the same steps, to the bit, as long as none of them decays; "": no others.

        They differ in their length, and in how they decay. Needs warm-ups that do not depend on the length.
        """
        by_length = self.data.mixture is not None and self.data.mixture.max_epochs > 0  # whose shares are
        if self.schedule.name != "wsd" or not self.schedule.warmup_tokens or by_length:
            return ""
        return _digest(self._texts("n_tokens") | {"schedule": str(self.schedule.warmup_tokens)})

    @property
    def branch_step(self) -> int:
        """Steps before the learning rate's decay begins; never the run's last step.

        The schedule is read at the middle of a step, in float32: a step that rounding could move into the
        decay is left to the decay.
        """
        n_stable = (1 - self.schedule.decay) * self.n_steps + 0.5 - 1e-6 * self.n_steps
        return max(0, min(self.n_steps - 1, int(n_stable)))


def _digest(texts: dict[str, str]) -> str:
    """Of the JSON whose fields have these texts, names sorted."""
    text = ", ".join(f'"{name}": {texts[name]}' for name in sorted(texts))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:12]
