"""Learning rates that stay right: standard parametrisation against muP, over widths and over depths.

1. sweep: learning rates a factor of 4 apart for every width and every depth, in both parametrisations.
2. refine: rates a factor of √2 apart around each best one.
Then the optimum of each size with its interval, how far optima move, what the base size's rate costs at other
sizes, a coordinate check, and pictures of it all. With `token_factors` and `batches` the rate is swept over
tokens and batch as well, and a joint law of all four follows for either parametrisation, with interactions
(scaling/hparams/joint_law.py). (Of the change of logits, a part through the head's initial
values vanishes as 1/√width under muP; the part that is learnt stays.)
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.batches import batch
from experiments.data.prepare import open_splits
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.lr_transfer import coordinate_check, figures
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from experiments.training.optim import find_direction
from models import ModelConfig, MuP, ladder
from scaling.hparams import JointLrLaw, fit_joint_lr, transfer
from scaling.report import Picture
from scaling.table.runs import Runs

PARAMETRISATIONS = ("standard", "mup")
Size = tuple[int, int]  # d_model, n_layers


class Cell(NamedTuple):
    """What is swept: a size on so many tokens in such batches."""

    size: Size
    n_tokens: int
    batch_tokens: int


Losses = dict[tuple[str, Cell], dict[float, float]]  # (parametrisation, cell) -> learning rate -> loss

CONVENTIONS = {
    "lr": "minimum of a loss surface in log lr, of one form for all sizes of a row, with its interval",
    "moves": "largest optimum / smallest over the sizes, with its interval",
    "base_costs": "validation loss at the rate that is best at the base size / best measured - 1",
    "change": "mean absolute change in a few steps of the normalised stream, and of the logits",
    "grows": "change at the largest size / at the smallest, where that is least and where it is most",
}


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The numbers suit two CPU cores and a quarter of an hour.

    Widths are trained at the base depth, depths at the base width, where both parametrisations are the same;
    all of them for `n_steps` of `batch_tokens`. `token_factors` times as many tokens are tried with each of
    `batches` at the base size, and with `batch_tokens` at the widest and deepest, where interactions show.
    `optimizer.lr` is the rate of the coordinate check; the sweeps replace it.
    """

    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=lambda: OptimizerConfig(1e-3, b2=0.99))
    base_width: int = 32
    base_depth: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    lrs: tuple[float, ...] = (2.5e-4, 1e-3, 4e-3, 1.6e-2, 6.4e-2)
    n_steps: int = 256
    seq_len: int = 64
    batch_tokens: int = 512
    token_factors: tuple[float, ...] = ()
    batches: tuple[int, ...] = ()
    n_val_tokens: int = 65_536
    checked_widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    checked_depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    checked_steps: int = 4
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level)
        if self.base_width not in self.widths or self.base_depth not in self.depths:
            raise ValueError(
                f"Settings: the base, width {self.base_width} and depth {self.base_depth}, is none of "
                f"widths={list(self.widths)} and depths={list(self.depths)}"
            )
        if len(self.lrs) < 3:
            raise ValueError(f"Settings.lrs={list(self.lrs)}; an optimum takes three at least")
        if any(factor <= 0 for factor in self.token_factors):
            raise ValueError(f"Settings.token_factors={list(self.token_factors)}; they must be positive")
        find_direction(self.optimizer.name)  # refuses one that there is not

    def sizes(self, along: str) -> list[Size]:
        """The row of sizes along "width" or "depth"."""
        if along == "width":
            return [(width, self.base_depth) for width in self.widths]
        return [(self.base_width, depth) for depth in self.depths]

    def cell(self, size: Size) -> Cell:
        """A size on the tokens and in the batches that all sizes have."""
        return Cell(size, self.n_steps * self.batch_tokens, self.batch_tokens)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    sweep(settings)
    for width in settings.checked_widths:
        network(settings, "mup", (width, settings.base_depth))
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("sweep", lambda runs: sweep(settings)),
        Stage("refine", lambda runs: refine(settings, runs)),
    )
    summary = "the best learning rate over widths and depths, standard parametrisation against muP"
    return Study(
        "lr_transfer", summary, settings, stages, lambda folder, runs: finish(settings, folder, runs)
    )


def swept(settings: Settings) -> list[tuple[str, Cell]]:
    """Everything that is swept, each once."""
    both = [*settings.sizes("width"), *settings.sizes("depth")]
    base = settings.cell((settings.base_width, settings.base_depth))
    tokens = [round(factor * base.n_tokens) for factor in (1.0, *settings.token_factors)]
    batches = (settings.batch_tokens, *settings.batches)
    ends = [settings.cell((max(settings.widths), settings.base_depth))]
    ends.append(settings.cell((settings.base_width, max(settings.depths))))
    cells = [settings.cell(size) for size in both]
    cells += [base._replace(n_tokens=n, batch_tokens=batch) for n in tokens for batch in batches]
    cells += [end._replace(n_tokens=n) for n in tokens for end in ends]
    return [(name, cell) for name in PARAMETRISATIONS for cell in dict.fromkeys(cells)]


def sweep(settings: Settings) -> list[RunConfig]:
    """Every rate for every size."""
    return [configure(settings, *which, lr) for which in swept(settings) for lr in settings.lrs]


def refine(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Rates around each size's best, a factor of √2 apart; beyond it where it is the least or the largest."""
    losses, configs = by_rate(runs, sweep(settings)), []
    for which in swept(settings):
        best = min(losses[which], key=lambda lr: losses[which][lr])
        steps = {min(settings.lrs): (-4, -2, -1, 1), max(settings.lrs): (-1, 1, 2, 4)}.get(
            best, (-2, -1, 1, 2)
        )
        configs += [configure(settings, *which, float(f"{best * 2 ** (n / 2):.4g}")) for n in steps]
    return configs


def by_rate(runs: Runs, configs: list[RunConfig]) -> Losses:
    """What these runs came to; infinite where they diverged."""
    loss, found = dict(zip(runs.table.run_id, runs.table.loss)), {}
    for config in configs:
        name = "mup" if getattr(config.model, "mup", None) else "standard"
        which = (
            name,
            Cell((config.model.d_model, config.model.n_layers), config.n_tokens, config.batch_tokens),
        )
        found.setdefault(which, {})[config.optimizer.lr] = float(loss[config.run_id])
    return found


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes optima.csv, coordinates.csv, transfer.json and the pictures; says how far the optima moved."""
    losses = by_rate(runs, sweep(settings) + refine(settings, runs))
    tables = {"losses": loss_table(settings, losses), "coordinates": coordinate_table(settings)}
    tables["optima"], moves = locate(settings, losses)
    grows = growth(tables["coordinates"])
    for name in ("optima", "coordinates"):
        write_atomic(folder / f"{name}.csv", tables[name].to_csv(index=False))
    written = {
        "optimizer": settings.optimizer.name,
        "base": {"d_model": settings.base_width, "n_layers": settings.base_depth},
        "level": settings.level,
        "moves": moves.to_dict("records"),
        "grows": grows,
        "conventions": CONVENTIONS,
    }
    laws = joint_laws(settings, losses)
    if laws:
        written["joint"] = {name: law.to_json() for name, law in laws.items()}
    write_json(folder / "transfer.json", written)
    drawn = figures.draw(**tables).items()
    write_findings(folder, [Picture(f"figures/{name}", *figures.CAPTIONS[name], png) for name, png in drawn])
    found = [f"{name}: {law}" for name, law in laws.items()]
    return "\n".join([conclusion(settings, moves, grows), *found])


def joint_laws(settings: Settings, losses: Losses) -> dict[str, JointLrLaw]:
    """By parametrisation, the law of the rate over all that was swept; none where only sizes were."""
    if not settings.token_factors and not settings.batches:
        return {}
    rows = [
        {"parametrisation": name, "d_model": cell.size[0], "n_layers": cell.size[1], **cell._asdict()}
        | {"lr": lr, "loss": loss}
        for (name, cell), sweep in losses.items()
        for lr, loss in sweep.items()
    ]
    table = pd.DataFrame(rows).drop(columns="size")
    return {
        name: fit_joint_lr(Runs(table.loc[table["parametrisation"] == name]), settings.level)
        for name in PARAMETRISATIONS
    }


def loss_table(settings: Settings, losses: Losses) -> pd.DataFrame:
    """All losses: along, parametrisation, size (the width or the depth), lr, loss."""
    rows = [
        {"along": along, "parametrisation": name, "size": size[along == "depth"], "lr": lr, "loss": loss}
        for along in ("width", "depth")
        for name in PARAMETRISATIONS
        for size in settings.sizes(along)
        for lr, loss in sorted(losses[name, settings.cell(size)].items())
    ]
    return pd.DataFrame(rows)


def locate(settings: Settings, losses: Losses) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The optimum of each size, and how far it moves over each row of sizes."""
    optima, moves = [], []
    for along in ("width", "depth"):
        sizes = settings.sizes(along)
        base = sizes.index((settings.base_width, settings.base_depth))
        for name in PARAMETRISATIONS:
            found = transfer([losses[name, settings.cell(size)] for size in sizes], base, settings.level)
            row = {"along": along, "parametrisation": name}
            for (d_model, n_layers), optimum in zip(sizes, found.optima):
                numbers = {"size": n_layers if along == "depth" else d_model, "d_model": d_model}
                optima.append(row | numbers | {"n_layers": n_layers} | dataclasses.asdict(optimum))
            costs = max(optimum.base_costs for optimum in found.optima)
            moves.append(row | {"moves": found.moves, "lo": found.lo, "hi": found.hi, "base_costs": costs})
    return pd.DataFrame(optima), pd.DataFrame(moves)


def coordinate_table(settings: Settings) -> pd.DataFrame:
    """Changes in a few steps of training: along, parametrisation, size, after, change."""
    training, _ = open_splits(settings.data)
    batches = [
        batch(
            training.tokens, settings.seed, step, settings.batch_tokens // settings.seq_len, settings.seq_len
        )
        for step in range(settings.checked_steps)
    ]
    checked = {
        "width": [(width, settings.base_depth) for width in settings.checked_widths],
        "depth": [(settings.base_width, depth) for depth in settings.checked_depths],
    }
    rows = []
    for along, sizes in checked.items():
        for name in PARAMETRISATIONS:
            for size in sizes:
                found = coordinate_check.changes(
                    network(settings, name, size), settings.optimizer, batches, settings.seed
                )
                row = {"along": along, "parametrisation": name, "size": size[along == "depth"]}
                rows += [row | {"after": place, "change": change} for place, change in found.items()]
    return pd.DataFrame(rows)


def growth(table: pd.DataFrame) -> dict[str, dict[str, tuple[float, float]]]:
    """How much more the largest size changes than the smallest, where that is least and where it is most."""
    found: dict[str, dict[str, tuple[float, float]]] = {"width": {}, "depth": {}}
    for along, by_parametrisation in found.items():
        for name in PARAMETRISATIONS:
            rows = table[(table["along"] == along) & (table["parametrisation"] == name)]
            small, large = (
                dict(zip(rows["after"][rows["size"] == size], rows["change"][rows["size"] == size]))
                for size in (rows["size"].min(), rows["size"].max())
            )
            ratios = [large[place] / small[place] for place in small]
            by_parametrisation[name] = (min(ratios), max(ratios))
    return found


def conclusion(
    settings: Settings, moves: pd.DataFrame, grows: dict[str, dict[str, tuple[float, float]]]
) -> str:
    """What the best rate does, in a line for each row of sizes, and the coordinate check."""
    ends = {"width": settings.widths, "depth": settings.depths}
    checked = {"width": settings.checked_widths, "depth": settings.checked_depths}
    lines = [f"best learning rate of {settings.optimizer.name}, {settings.level:.0%} intervals:"]
    for row in moves.to_dict("records"):
        along, costs = row["along"], row["base_costs"]
        words = f"{costs:+.1%} of loss" if np.isfinite(costs) else "divergence"
        lines.append(
            f"  over {max(ends[along]) / min(ends[along]):g}× {along}, {row['parametrisation']:8}: moves "
            f"×{row['moves']:.2f} [{row['lo']:.2f}, {row['hi']:.2f}]; the base's rate costs up to {words}"
        )
    lines.append("activations change in a few steps, largest size to smallest, over places in the network:")
    for along, by in grows.items():
        factor = max(checked[along]) / min(checked[along])
        lines.append(
            "  over {:g}× {}: ×{:.2f} to ×{:.2f} under standard, ×{:.2f} to ×{:.2f} under muP".format(
                factor, along, *by["standard"], *by["mup"]
            )
        )
    return "\n".join(lines)


def configure(settings: Settings, name: str, cell: Cell, lr: float) -> RunConfig:
    """A run of one cell in one parametrisation.

    Args:
      settings: of the study.
      name: the parametrisation, "standard" or "mup".
      cell: size, tokens and batch.
      lr: the largest learning rate of the schedule.
    """
    return RunConfig(
        model=network(settings, name, cell.size),
        data=settings.data,
        optimizer=dataclasses.replace(settings.optimizer, lr=lr),
        schedule=ScheduleConfig(warmup=0.1),
        batch_tokens=cell.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=cell.n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def network(settings: Settings, name: str, size: Size) -> ModelConfig:
    """The family's model of this width and depth, otherwise the ladder's, with a head of its own.

    A head that is the embedding, too, gives a wide shallow network large logits to begin with in the standard
    parametrisation, which would be another reason for rates to differ.
    """
    d_model, n_layers = size
    vocab_size, mup = settings.data.vocab_size, None
    base = ladder(settings.base_width, vocab_size, settings.family)
    if name == "mup":
        mup = MuP(settings.base_width, settings.base_depth, getattr(base, "d_head", 1))
    untied = {"tied_embeddings": False, "embedding_scale": 1.0}
    changes = {field: value for field, value in untied.items() if hasattr(base, field)}
    return ladder(d_model, vocab_size, settings.family, n_layers=n_layers, mup=mup, **changes)
