"""What accelerators can do, from their makers' data sheets; all in bytes, FLOP and seconds of one device."""

from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Accelerator:
    """A card or chip.

    platform: "gpu" or "tpu".
    memory: bytes.
    peak: dense bfloat16 FLOP/s.
    bandwidth: bytes/s of its memory.
    link: bytes/s that it sends to its neighbours, all links together, one way: NVLink, or the TPU's own.
    network: bytes/s that it sends out of its host; TPU slices have the same links everywhere.
    details: of a GPU, what XLA's compiler asks beside that.
    """

    platform: str
    memory: float
    peak: float
    bandwidth: float
    link: float
    network: float
    details: str = ""


def _gpu(name: str, capability: int, cores: int, clock_ghz: float, shared: int, l2: int) -> str:
    """Fields of XLA's gpu_device_info: sizes in bytes, `shared` that of a multiprocessor's shared memory."""
    return f"""
        device_description_str: "{name}" platform_name: "CUDA"
        gpu_device_info {{
            threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
            shared_memory_per_block: 49152 shared_memory_per_core: {shared}
            shared_memory_per_block_optin: {shared - 1024}
            core_count: {cores} fpus_per_core: {128 if capability > 8 else 64}
            block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
            registers_per_core_limit: 65536 registers_per_block_limit: 65536
            l2_cache_size: {l2} clock_rate_ghz: {clock_ghz}
            cuda_compute_capability {{ major: {capability} }}
            memory_bandwidth: %d device_memory_size: %d
        }}
        dnn_version_info {{ major: 9 minor: 10 }}"""


_A100 = _gpu("NVIDIA A100-SXM4-80GB", 8, 108, 1.41, 167_936, 41_943_040)
_H100 = _gpu("NVIDIA H100 80GB HBM3", 9, 132, 1.98, 233_472, 52_428_800)
_H200 = _gpu("NVIDIA H200", 9, 132, 1.98, 233_472, 52_428_800)

# GPUs are the SXM cards, with a network card of 400 Gb/s each (A100: 200), as in the makers' own servers.
ACCELERATORS = {
    "a100": Accelerator("gpu", 85.0 * GB, 312e12, 2039 * GB, 300 * GB, 25 * GB, _A100),
    "h100": Accelerator("gpu", 84.9 * GB, 989e12, 3352 * GB, 450 * GB, 50 * GB, _H100),
    "h200": Accelerator("gpu", 150.1 * GB, 989e12, 4800 * GB, 450 * GB, 50 * GB, _H200),
    "v4": Accelerator("tpu", 34.4 * GB, 275e12, 1228 * GB, 270 * GB, 270 * GB),
    "v5e": Accelerator("tpu", 17.2 * GB, 197e12, 819 * GB, 180 * GB, 180 * GB),
    "v5p": Accelerator("tpu", 102.0 * GB, 459e12, 2765 * GB, 540 * GB, 540 * GB),
    "v6e": Accelerator("tpu", 34.4 * GB, 918e12, 1640 * GB, 360 * GB, 360 * GB),
}


def target_config(card: Accelerator) -> str:
    """XLA's description of a GPU, a text proto."""
    return card.details % (card.bandwidth, card.memory)
