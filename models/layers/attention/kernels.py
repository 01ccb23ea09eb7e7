"""Causal attention without the matrix of scores in memory (Dao et al. 2022): cuDNN's on GPUs, the splash
kernel that comes with jax on TPUs. Which one is a matter of the devices that the program is traced for
(`sharding.platform`), not of the machine that traces it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from models.sharding import platform, spec

PLATFORMS = ("gpu", "tpu")  # that have a kernel
TILES = (512, 256, 128)  # positions that the splash kernel takes at once


def missing(q_BTHK: Any, k_BTGK: Any, cap: float, sinks: bool = False) -> str:
    """Why no kernel can do this attention where it is traced, in words; "" if one can.

    Args:
      q_BTHK, k_BTGK: queries and keys, arrays or shapes.
      cap: bounds the scores, 0 not at all.
      sinks: whether scores without a key take part.
    """
    place, mesh = platform(), jax.sharding.get_abstract_mesh()
    t, d_head, tile = q_BTHK.shape[1], q_BTHK.shape[3], 128 if place == "tpu" else 64
    if place not in PLATFORMS:
        return f"there is no kernel for {place}"
    if q_BTHK.dtype != jnp.bfloat16:
        return f"dtype={q_BTHK.dtype}; it takes bfloat16"
    if sinks:
        return "sinks; it has none"
    if cap and place != "tpu":
        return f"attention_softcap={cap:g}; cuDNN has none"
    if t % tile:
        return f"a text of {t} tokens; they must be a multiple of {tile}"
    if d_head % 8 or d_head > 128:
        return f"d_head={d_head}; it must be a multiple of 8, at most 128"
    if not mesh.empty and mesh.shape["sequence"] > 1:
        return f"sequence={mesh.shape['sequence']}; the kernel needs a whole text on a device"
    if (
        not mesh.empty
        and q_BTHK.shape[2] % mesh.shape["tensor"] == 0
        and k_BTGK.shape[2] % mesh.shape["tensor"]
    ):
        return f"tensor={mesh.shape['tensor']} divides the heads, but not the {k_BTGK.shape[2]} of keys"
    return ""


def fused_attention(q_BTHK, k_BTGK, v_BTGK, scale: float, window: int, cap: float) -> jax.Array:
    """Causal attention [B,T,H,K] by the kernel of the devices traced for.

    Args:
      q_BTHK, k_BTGK, v_BTGK: bfloat16.
      scale: multiplies the scores.
      window: tokens that a query sees, itself included; 0 for all before it.
      cap: bounds the scores, 0 not at all; on TPUs alone.
    """
    if platform() == "tpu":
        return _on_mesh(functools.partial(_splash, window=window, cap=cap), q_BTHK * scale, k_BTGK, v_BTGK)
    return jax.nn.dot_product_attention(
        *(q_BTHK, k_BTGK, v_BTGK),
        scale=scale,
        is_causal=True,
        local_window_size=(window - 1, 0) if window else None,
        implementation="cudnn",
    )


def _on_mesh(kernel, q_BTHK, k_BTGK, v_BTGK) -> jax.Array:
    """The kernel on what each device has of rows and heads: XLA does not know how to share it out."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return kernel(q_BTHK, k_BTGK, v_BTGK)
    of_q: PartitionSpec = spec(("batch", None, "heads", None), q_BTHK.shape, mesh)
    of_k: PartitionSpec = spec(("batch", None, "kv_heads", None), k_BTGK.shape, mesh)
    shared_out = jax.shard_map(kernel, in_specs=(of_q, of_k, of_k), out_specs=of_q, check_vma=False)
    return shared_out(q_BTHK, k_BTGK, v_BTGK)


def _splash(q_BTHK, k_BTGK, v_BTGK, *, window: int, cap: float) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    _, t, n_heads, _ = q_BTHK.shape
    one = splash.LocalMask((t, t), (window - 1, 0), 0) if window else splash.CausalMask((t, t))
    tile = next(size for size in TILES if t % size == 0)
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    tiles: dict[str, Any] = {f"block_{name}": tile for name in names}
    attend: Any = splash.make_splash_mha(
        splash.MultiHeadMask([one] * n_heads),
        block_sizes=splash.BlockSizes(**tiles),
        attn_logits_soft_cap=cap or None,
        head_shards=1,
        q_seq_shards=1,
    )
    heads_first = (x.swapaxes(1, 2) for x in (q_BTHK, k_BTGK, v_BTGK))
    return jax.vmap(attend)(*heads_first).swapaxes(1, 2)
