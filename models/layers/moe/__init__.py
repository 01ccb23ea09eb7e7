"""Mixture of experts: each token passes the few feed-forward networks that a router chooses for it.

experts: MoE, the layer; routing: the choice; slots: where choices go; spread: experts without drops
on a mesh.

Shape letters besides those of `models.model`: N tokens, K choices of a token, S slots (what the experts
compute), X blocks of slots that share an expert's weights, M slots of a block.
"""

from models.layers.moe.experts import MoE, capacity
from models.layers.moe.routing import choose, router_aux

__all__ = ["MoE", "capacity", "choose", "router_aux"]
