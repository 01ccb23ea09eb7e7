"""Units in the names of columns: params (M), tokens [billions], model_size_b, compute (PF-days)."""

import re

POWERS = {
    **dict.fromkeys(("k", "thousand", "thousands"), 1e3),
    **dict.fromkeys(("m", "mn", "mio", "million", "millions", "mega"), 1e6),
    **dict.fromkeys(("b", "bn", "billion", "billions", "g", "giga"), 1e9),
    **dict.fromkeys(("t", "tn", "trillion", "trillions", "tera"), 1e12),
}
OF_FLOPS = {**POWERS, "p": 1e15, "peta": 1e15, "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21, "y": 1e24}
DAY = 86_400.0  # seconds, of petaflop/s-days
PLAIN = ("nats", "nats per token", "nats/token", "nat")  # our loss
_BRACKETS = re.compile(r"(.*?)[\s_]*[(\[](.*)[)\]]")
_LAST_WORD = re.compile(rf"(.+?)[\s_\-]+(?:in[\s_\-]+)?({'|'.join(POWERS)})", re.IGNORECASE)
_COUNTED = re.compile(r"(.*?)\s*(params?|parameters|tokens?)")
_FLOPS = re.compile(r"(.*?)[\s-]?flops?")
_DAYS = re.compile(r"(p|peta)[\s-]?(?:f|flops?)(?:/s|ps)?[\s-]*days?")
_POWER = re.compile(r"(?:1e|10\^|10\*\*)(\d+)")


def name_and_unit(header: str, in_words: bool = True) -> tuple[str, float | None] | None:
    """("params", 1e6) of "params (M)"; a unit that is not known is None; None for a name without one.

    `in_words`: whether the last word, params_b or tokens in billions, may be one.
    """
    if found := _BRACKETS.fullmatch(header.strip()):
        return found[1], _unit(found[2])
    if in_words and (found := _LAST_WORD.fullmatch(header.strip())):
        return found[1], POWERS[found[2].lower()]
    return None


def _unit(words: str) -> float | None:
    """What is counted by: (M), (in millions), (B tokens), (EFLOPs), (PF-days), (×1e6), (nats)."""
    said = re.sub(r"^(?:in\s+|[x×*]\s*)", "", words.strip().lower())
    if said in PLAIN:
        return 1.0
    if _DAYS.fullmatch(said):
        return 1e15 * DAY
    if power := _POWER.fullmatch(said):
        return 10.0 ** int(power[1])
    if flops := _FLOPS.fullmatch(said):
        return OF_FLOPS.get(flops[1].strip()) if flops[1].strip() else 1.0
    counted = _COUNTED.fullmatch(said)
    prefix = counted[1] if counted else said
    return POWERS.get(prefix) if prefix or not counted else 1.0
