"""Does the loop work? The default study over corpora, vocabularies and families: predicted against measured.

`python -m benchmarks.verifications --out DIR [--preset default] [--only NAME …]` takes 24 combinations one
after the other, each with a seed that no default was chosen by; `--round 1` to 5 takes each with another of
these seeds. A combination is a study of its own in DIR/PRESET/NAME: it continues if interrupted, and once
finished it is a row of DIR/PRESET/rows.csv and is skipped. The preset "quick" has budgets of a seventh of the
default's: by its FLOPs 2 to 3 CPU minutes a combination of transformers, "default" about 15.

Predictions are pre-registered: what predicts is committed before anything trains, so a tree with changes is
refused, as is going on with another commit than a study was begun with. Every row says which commit it was.

`--refit` predicts the verification runs again from the saved grids with the code as it is now. These rows go
to refits.csv with their commit and are marked: whoever wrote that code may have seen the outcome.

The corpora are the docstrings and those of ISOFLOP_PUBLIC_DATA/corpora (default ../shared/data).
"""

import argparse
import itertools
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

import scaling
from experiments.files import read_json, write_atomic
from experiments.studies.quickstart.outcome import fit_grid
from launch import cli

ROOT = Path(__file__).parents[1]
CORPORA = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", ROOT.parent / "shared/data")).absolute() / "corpora"
FILES = {"novels": "train", "python": "domain_python", "languages": "multilingual_train"}
VOCABULARIES = ("bytes", "sentencepiece")
PIECES = {"languages": 4608}  # where not 512: of as many characters as theirs, 3,897, 512 pieces cannot be
FAMILIES = ("transformer", "moe", "rwkv7")
SEEDS = range(10, 16)
PRESETS = {
    "default": (),
    "quick": (
        'tune=[{"d_model":24,"flops":3e10},{"d_model":8,"flops":4.5e10}]',
        'grid=[{"flops":3e10,"d_models":[8,16,24,32]},{"flops":4.5e10,"d_models":[8,16,24,32]},'
        '{"flops":6.5e10,"d_models":[16,24,32,40]},{"flops":1e11,"d_models":[16,24,32,40]}]',
        "batch_tokens=256",
    ),
}
KEPT = ("flops", "n_params", "n_tokens", "lr", "predicted", "lo", "hi", "level", "measured")  # of verify.json


@dataclass(frozen=True)
class Combination:
    """What one study trains on, in which tokens, what it trains, and under which seed."""

    corpus: str
    vocab: str
    family: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and its row."""
        return f"{self.corpus}-{self.vocab}-{self.family}-{self.seed}"

    def overrides(self, preset: str) -> list[str]:
        """The settings that differ from the study's."""
        of_file = ["data.task=files", f"data.path={CORPORA / FILES.get(self.corpus, '')}.jsonl.xz"]
        own = of_file if self.corpus in FILES else []
        pieces = ["data.vocab=sentencepiece", f"data.vocab_size={PIECES.get(self.corpus, 512)}"]
        return [
            *own,
            *(pieces if self.vocab == "sentencepiece" else []),
            f"family={self.family}",
            f"seed={self.seed}",
            *PRESETS[preset],
        ]


def combinations(n_before: int) -> list[Combination]:
    """Every corpus in every vocabulary by every family; seeds in turn, so that each meets several of all.

    `n_before` rounds came before this one: none of their combinations is among these.
    """
    every = enumerate(itertools.product(("docstrings", *FILES), VOCABULARIES, FAMILIES))
    return [Combination(*each, SEEDS[(i + i // len(SEEDS) + n_before) % len(SEEDS)]) for i, each in every]


def commit(must_be_clean: bool) -> str:
    """The commit of the code that runs; "+" after it: with changes.

    Raises:
      ValueError: there are changes, and must not be.
    """
    git = ("git", "-C", str(ROOT))
    head = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout
    if changed and must_be_clean:
        raise ValueError(
            f"the working tree has changes ({changed.split()[1]} …); commit them: what predicts must be known"
        )
    return head.stdout.strip() + ("+" if changed else "")


def run(one: Combination, preset: str, folder: Path) -> dict:
    """Takes one study to its end; its row."""
    now, begun = commit(must_be_clean=True), folder / "commit.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not begun.exists():
        write_atomic(begun, now + "\n")
    if (then := begun.read_text().strip()) != now:
        raise ValueError(f"{folder} was begun at {then}, and this is {now}; check that out, or delete it")
    sets = [f"--set={override}" for override in one.overrides(preset)]
    if code := cli.main(["study", "quickstart", "--out", str(folder / "study"), *sets]):
        raise ValueError(f"{one.name}: isoflop study ended with {code}; see {folder}")
    verification = read_json(folder / "study/verify.json")
    return row(one, {name: verification[name] for name in KEPT}, now)


def refit(one: Combination, folder: Path) -> dict:
    """The row of a finished study with the prediction that the code makes now."""
    verification = read_json(folder / "study/verify.json")
    fit = fit_grid(scaling.read_runs(folder / "study"), n_bootstrap=1000, level=verification["level"])
    again = fit.predict(verification["n_params"], verification["n_tokens"])
    found = {"predicted": float(again.loss), "lo": float(again.lo), "hi": float(again.hi)}
    return row(one, {name: verification[name] for name in KEPT} | found, commit(must_be_clean=False))


def row(one: Combination, verification: dict, predicted_by: str) -> dict:
    """A combination, its numbers and what they come to."""
    v = verification
    return {
        "name": one.name,
        **vars(one),
        **v,
        "error": v["measured"] / v["predicted"] - 1,
        "half_width": (v["hi"] - v["lo"]) / 2 / v["predicted"],
        "inside": v["lo"] <= v["measured"] <= v["hi"],
        "commit": predicted_by,
    }


def as_text(rows: pd.DataFrame, refitted: bool) -> str:
    """The table in Markdown, and what it comes to."""
    lines = ["| combination | N | FLOPs | lr | predicted | interval | measured | error | |", "|---" * 9 + "|"]
    for r in rows.to_dict("records"):
        cells = (
            f"{r['name']} | {r['n_params']:.3g} | {r['flops']:.2g} | {r['lr']:.3g}",
            f"{r['predicted']:.4f} | {r['lo']:.4f} to {r['hi']:.4f} | {r['measured']:.4f}",
            f"{r['error']:+.2%} | {'inside' if r['inside'] else 'MISSED'}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    held, n = int(rows["inside"].sum()), len(rows)
    ends = binomtest(held, n).proportion_ci(0.95, method="exact")
    missed = ", ".join(rows["name"][~rows["inside"].to_numpy(bool)]) or "none"
    by = ", ".join(sorted(set(rows["commit"])))
    lines += [
        "",
        f"{held} of {n} inside the {rows['level'].iloc[0]:.0%} intervals: {held / n:.0%} "
        f"({ends.low:.0%} to {ends.high:.0%}, Clopper and Pearson, 95 %)",
        f"median error {rows['error'].abs().median():.2%}, largest {rows['error'].abs().max():.2%}, "
        f"median half-width {rows['half_width'].median():.2%}; missed: {missed}",
        f"REFITTED after the runs were seen, by {by}" if refitted else f"predicted before the runs, by {by}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Runs what is left, and prints the table of all that is finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--preset", default="quick", choices=PRESETS)
    parser.add_argument(
        "--round", default=0, type=int, choices=range(len(SEEDS)), help="other seeds of the same combinations"
    )
    parser.add_argument(
        "--only", nargs="*", default=[], help="names, such as docstrings-bytes-transformer-10"
    )
    parser.add_argument(
        "--refit", action="store_true", help="predict finished ones again, by the code of now"
    )
    options = parser.parse_args()
    out, known = options.out / options.preset, {one.name: one for one in combinations(options.round)}
    if unknown := [name for name in options.only if name not in known]:
        parser.error(f"no combination {unknown[0]}; there are {', '.join(known)}")
    table = out / ("refits.csv" if options.refit else "rows.csv")
    done = pd.read_csv(table).to_dict("records") if table.exists() and not options.refit else []
    for one in known.values():
        if one.name not in (options.only or known) or one.name in {r["name"] for r in done}:
            continue
        folder = out / one.name
        if options.refit and not math.isfinite(measured(folder)):
            continue
        try:
            done.append(refit(one, folder) if options.refit else run(one, options.preset, folder))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        write_atomic(table, pd.DataFrame(done).to_csv(index=False))
    if not done:
        print(f"no combination is finished in {out}", file=sys.stderr)
        return 2
    text = as_text(pd.DataFrame(done), options.refit)
    write_atomic(table.with_suffix(".md"), text + "\n")
    print(text)
    return 0


def measured(folder: Path) -> float:
    """What a finished study's verification run came to; NaN where there is none yet."""
    file = folder / "study/verify.json"
    return read_json(file).get("measured", float("nan")) if file.exists() else float("nan")


if __name__ == "__main__":
    sys.exit(main())
