"""What the study of languages says at the end."""

from collections.abc import Iterator
from typing import Any

from scaling.laws.pretraining.low_resource import LOW_RESOURCE

FORMULA = LOW_RESOURCE.formula


def in_words(found: dict[str, Any], level: float) -> Iterator[str]:
    """Directions of papers, the law and how it was verified, costs, and transfer; a line each.

    Args:
      found: languages.json of the study.
      level: of its intervals.
    """
    yield f"bits for the same sentences; {level:.0%} intervals"
    for each in found["directions"]:
        yield (
            f"  {each['a']} against {each['b']}, {each['languages']} languages: {each['change']:+.2%} "
            f"({each['lo']:+.2%} to {each['hi']:+.2%}; p {each['p_seeds']:.2g} over seeds, "
            f"{each['p_languages']:.2g} over languages; lower in {each['n_lower']} of "
            f"{each['n_languages']}). {each['source']}: {each['expected']}. "
            f"{'It holds' if each['holds'] else 'Not shown'} here."
        )
    yield from _law(found["law"], found["verified"])
    for each in found["cost"]:
        yield (
            f"{each['vocabulary']}: the dearest language takes {each['spread_of_tokens']:.2f} times the "
            f"tokens a sentence of the cheapest, {each['spread_of_bits']:.2f} times the bits (and "
            f"{each['spread_of_bits_per_byte']:.2f} times the bits a byte); rank correlation of tokens with "
            f"bits {each['tokens_and_bits']:.2f} (p {each['p']:.2g}), of bits a byte with bits a sentence "
            f"{each['bits_per_byte_and_bits']:.2f}"
        )
    for each in found["transfer"]:
        p = f"; above unrelated ones: p {each['p']:.2g}" if each["p"] is not None else ""
        yield (
            f"  {each['kinship']} ({each['n']} pairs): text of another language saves {each['gain']:.2%} "
            f"({each['lo']:.2%} to {each['hi']:.2%}) of the bits{p}"
        )


def _law(law: dict[str, Any], verified: list[dict[str, Any]]) -> Iterator[str]:
    params = ", ".join(
        f"{name} {value:.3g} [{law['ci'][name][0]:.3g}, {law['ci'][name][1]:.3g}]"
        for name, value in law["params"].items()
    )
    yield f"law of scarce text, bits over those with enough: {FORMULA}: {params}; {law['status']}"
    for apart in (False, True):
        own = [each for each in verified if each["apart"] == apart]
        if own:
            inside = sum(each["lo"] <= each["measured"] <= each["hi"] for each in own)
            errors = sorted(abs(each["predicted"] / each["measured"] - 1) for each in own)
            who = "languages kept apart" if apart else "languages of the fit"
            yield (
                f"  a sampling kept apart, {who}: {inside} of {len(own)} inside the interval, median error "
                f"{errors[len(errors) // 2]:.2%}, largest {errors[-1]:.2%}"
            )
