"""The best mixture of training data for a weighted target, by fits of mixture laws; with intervals.

Each fit is of one text's loss by the shares of the same domains (isoflop fit runs.csv --law mixture:web,code
--columns loss=loss_web --out web.json); several are weighted. Caps keep a domain from too many repeats.

Example: isoflop mixture web.json code.json --weights 1,3
Example: isoflop mixture web.json code.json --unique_tokens web=1e11,code=2e9 --tokens 5e10 --epochs 4
"""

import dataclasses
from pathlib import Path

from absl import flags

from launch.arguments.tables_and_fits import define_law, number, parse_given, read_fit, run_law
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
define_law(FLAGS)
USAGE = "isoflop mixture FIT.json… [flags]"
flags.DEFINE_list(
    "weights", [], "of the fits' losses in the target, in their order; default: equal", flag_values=FLAGS
)
flags.DEFINE_list("caps", [], "largest shares, as code=0.2", flag_values=FLAGS)
flags.DEFINE_list(
    "unique_tokens", [], "tokens that there are, as code=2e9: caps the share by --epochs", flag_values=FLAGS
)
flags.DEFINE_float("tokens", None, "tokens of the run that the mixture is for", flag_values=FLAGS)
flags.DEFINE_float("epochs", 4.0, "how often a domain's tokens may be met", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints the shares and the losses there."""
    if not args:
        raise ValueError(f"expected one or more fit.json; usage: {USAGE}")
    if bool(flags.unique_tokens) != (flags.tokens is not None):
        raise ValueError("--unique_tokens and --tokens go together: a cap is unique · epochs / tokens")
    weights = [number("--weights", text) for text in flags.weights] or None
    caps = parse_given(flags.caps, "caps", "code=0.2")
    unique = parse_given(flags.unique_tokens, "unique_tokens", "code=2e9")
    prepare_process()  # before anything imports jax
    import pandas as pd

    from scaling.optimum.mixtures import best_mixture, epoch_caps

    run_law(flags.law)
    by_epochs = epoch_caps(unique, flags.tokens, flags.epochs) if unique else {}
    caps |= {domain: min(cap, caps.get(domain, 1.0)) for domain, cap in by_epochs.items()}
    found = best_mixture([read_fit(Path(arg)) for arg in args], weights, caps)
    if flags.json:
        print(pd.Series(dataclasses.asdict(found)).to_json(double_precision=15))  # NaN as null
        return 0
    for domain, share in found.shares.items():
        capped = "  (at its cap)" if share >= caps.get(domain, 2.0) - 1e-6 else ""
        print(f"{domain:<16} {share:.4f}  [{found.lo[domain]:.4f}, {found.hi[domain]:.4f}]{capped}")
    for arg, loss in zip(args, found.losses):
        print(f"{arg}: loss {loss:.4f}")
    print(f"weighted loss {found.loss:.4f}  [{found.loss_lo:.4f}, {found.loss_hi:.4f}] for one new run")
    print(f"({found.level:.0%} intervals; those of shares of the laws' parameters alone)")
    return 0
