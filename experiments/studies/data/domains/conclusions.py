"""What the study of domains says of what it found."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.studies.data.domains.runs import Settings

PAPER = {"alpha": 0.18, "beta": 0.38}  # of Hernandez et al. 2021, from text to Python


def in_words(settings: Settings, found: dict[str, Any]) -> Iterator[str]:
    """What was found, a line each."""
    yield from matrix(settings, found["losses"])
    yield from forgetting(found["forgetting"])
    for each in found["break_even"]:
        yield f"{each['domain']}, at equal {_equal(each)}: {break_even(each)}"
    for each in found["transfer"]:
        yield from transfer(each)
    for each in found["verify"]:
        n = len(each["measured"])
        yield (
            f"{each['domain']} {each['start']}, {settings.verify_tokens:,} tokens: predicted "
            f"{each['loss']:.4f} [{each['lo']:.4f}, {each['hi']:.4f}], measured "
            f"{sum(each['measured']) / n:.4f} ({each['error']:+.2%}; {each['inside']} of {n} inside)"
        )
    for each in found["value"]:
        yield from value(settings, each)


def matrix(settings: Settings, losses: list[dict[str, Any]]) -> Iterator[str]:
    """The loss of each model on each text, as a table."""
    texts = list(dict.fromkeys(each["text"] for each in losses))
    halves = {each["text"]: each["half"] for each in losses}
    n_tokens = settings.domain_tokens[-1]
    yield f"loss of models {settings.widths[-1]} wide, {n_tokens:,} tokens of the domain, on:"
    yield f"{'':<28}" + "".join(f"{text:>12}" for text in texts)
    for model in dict.fromkeys(each["model"] for each in losses):
        yield f"{model:<28}" + "".join(f"{each['loss']:>12.4f}" for each in losses if each["model"] == model)
    yield f"{'(' + format(settings.level, '.0%') + ' interval: ±)':<28}" + "".join(
        f"{halves[text]:>12.4f}" for text in texts
    )


def forgetting(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What continuing costs on general text and gains on the domain."""
    yield "continued: loss on general text rises by (on the domain falls by)"
    for each in rows:
        replay = f", {each['replay']:.0%} replay" if each["replay"] else ""
        how = "optimizer kept" if each["start"] == "kept" else "continued"
        yield (
            f"  {each['domain']}, {each['unique_tokens']:>9,.0f} tokens, {how}{replay}: "
            f"{each['lost']:+.3f} ± {each['lost_half']:.3f} "
            f"({each['gained']:.3f} ± {each['gained_half']:.3f})"
        )


def break_even(found: dict[str, Any]) -> str:
    """Below which size continuing is better."""
    smallest, largest = found["sizes"][0], found["sizes"][-1]
    lo = f"{found['lo']:,.0f}" if found["lo"] else f"less than {smallest:,}"
    hi = f"{found['hi']:,.0f}" if found["hi"] else f"more than {largest:,}"
    if found["beyond"] == "above":
        return f"continuing is better up to {largest:,} unique tokens, the most that were tried"
    if found["beyond"] == "below":
        return f"from scratch is better from {smallest:,} unique tokens on, the least that were tried"
    return f"continuing is better below {found['at']:,.0f} unique tokens [{lo} to {hi}]"


def transfer(found: dict[str, Any]) -> Iterator[str]:
    """The law's exponents beside the paper's, and whether its direction is found."""
    params, ci, last = found["params"], found["ci"], found["at"][-2]
    exponents = ", ".join(
        f"{name} {params[name]:.2f} [{ci[name][0]:.2f}, {ci[name][1]:.2f}]" for name in PAPER
    )
    yield (
        f"{found['domain']}: D_T = e^{params['log_k']:.2f} D_F^alpha N^beta, {exponents} "
        f"(paper: alpha {PAPER['alpha']}, beta {PAPER['beta']}); {found['status']}"
    )
    yield (
        f"  D_T grows slower than D_F (alpha < 1): {verdict(ci['alpha'], -np.inf, 1)}; and with the model "
        f"(beta > 0): {verdict(ci['beta'], 0, np.inf)}; at N = {last['n_params']:,.0f}, D_F = "
        f"{last['unique_tokens']:,} it is {_with(last['transferred'], ',.0f')} tokens, "
        f"{_with(last['fraction'], '.0%')} of the effective data"
    )


def verdict(interval: tuple[float, float], low: float, high: float) -> str:
    """Whether an exponent lies between two limits as the paper has it, as far as its interval says."""
    if low < interval[0] and interval[1] < high:
        return "as in the paper"
    return "not as in the paper" if interval[1] < low or interval[0] > high else "the runs do not decide"


def value(settings: Settings, found: dict[str, Any]) -> Iterator[str]:
    """What more tokens of the domain would save."""
    now, repeats = settings.domain_tokens[-1], found["repeats"]
    for start, next_ones in found["next"].items():
        each = {name: 1000 * x for name, x in found["per_token"][start].items()}
        yield (
            f"{found['domain']} {start}, at {now:,} unique tokens: 1,000 more save {_with(each, '.5f')} nats "
            f"a token, the next 10 % {_with(next_ones, '.4f')}"
        )
    yield (
        f"  from scratch by {repeats['law']}: 10 % more tokens save {_with(repeats['new'], '.4f')} if they "
        f"are new, {_with(repeats['again'], '.4f')} if they are the same again"
    )


def _equal(found: dict[str, Any]) -> str:
    return "FLOPs" if found["equal"] == "flops" else "tokens of the domain"


def _with(x: dict[str, float], form: str) -> str:
    return f"{x['value']:{form}} [{x['lo']:{form}}, {x['hi']:{form}}]"
