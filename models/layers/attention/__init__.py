"""Attention: multi_head, the usual one, and what all share (masks, softmax, slots of a cache); latent, whose
keys and values come of a narrow vector; kernels, that keep no matrix of scores."""

from models.layers.attention.latent import LatentAttention
from models.layers.attention.multi_head import (
    Attention,
    attend,
    attend_to_parts,
    causal_mask,
    in_parts,
    slot_positions,
    softcap,
    softmax,
    softmax_attention,
    to_slots,
    write_slot,
)

__all__ = [
    "Attention",
    "LatentAttention",
    "attend",
    "attend_to_parts",
    "causal_mask",
    "in_parts",
    "slot_positions",
    "softcap",
    "softmax",
    "softmax_attention",
    "to_slots",
    "write_slot",
]
