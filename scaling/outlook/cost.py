"""What FLOPs cost on a machine: hours, money, electricity, carbon.

Every number can be changed: hardware with `dataclasses.replace(HARDWARE["h100"], dollars_per_hour=2.0)`, the
rest with arguments of `cost`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

# What large runs reach: 38 to 43 % in Llama 3 405B on 16,384 H100 (Grattafiori et al. 2024, arXiv 2407.21783,
# table 4), 46 % in PaLM 540B on 6,144 TPU v4 (Chowdhery et al. 2022, arXiv 2204.02311, table 3). Small models
# are often far below.
MFU = 0.4
# Power of the building over that of the machines: Google's data centres 1.09 on average in 2024 (its
# Environmental Report 2025), those that answer Uptime Institute 1.56 (Global Data Center Survey 2024).
PUE = 1.1
# Of the world's electricity in 2024, over the life of the power stations: Ember, Global Electricity Review
# 2025. Grids of water and nuclear power: 0.02 to 0.1; of coal: about 0.9.
KG_CO2_PER_KWH = 0.473


@dataclass(frozen=True)
class Hardware:
    """One device.

    Attributes:
      peak_flops: dense bfloat16 FLOPs a second that its maker promises.
      watts: its board power. Taken as the average draw with its share of the server, as measured systems are
        within a few per cent of it (Patterson et al. 2021, arXiv 2104.10350, table 4, V100 and TPU v3).
      dollars_per_hour: rent of one device, on demand. 0 for one's own.
      source: where the numbers are from.
    """

    name: str
    peak_flops: float
    watts: float
    dollars_per_hour: float
    source: str


_GPU = (
    "NVIDIA's data sheet; rent: specialised clouds' middle, May 2026, mercatus-ai.com/blog/cloud-gpu-pricing"
)
_TPU = "cloud.google.com/tpu/docs; rent: on demand in the US, 2025 (cloud.google.com/tpu/pricing)"
_GUESS = f"{_TPU}; watts are a guess, none are published"
HARDWARE = {
    "h100": Hardware("NVIDIA H100 SXM", 989e12, 700.0, 3.0, _GPU),
    "h200": Hardware("NVIDIA H200 SXM", 989e12, 700.0, 4.0, _GPU),
    "b200": Hardware(
        "NVIDIA B200 SXM", 2.25e15, 1000.0, 5.25,
        "an eighth of DGX B200's data sheet; rent: specialised clouds' middle, March 2026, lyceum.technology",
    ),
    "a100": Hardware("NVIDIA A100 SXM 80 GB", 312e12, 400.0, 1.3, _GPU),
    "tpu-v4": Hardware(
        "Google TPU v4", 275e12, 192.0, 3.22, f"{_TPU}; watts: Jouppi et al. 2023, arXiv 2304.01433, table 4"
    ),
    "tpu-v5e": Hardware("Google TPU v5e", 197e12, 200.0, 1.2, _GUESS),
    "tpu-v5p": Hardware("Google TPU v5p", 459e12, 450.0, 4.2, _GUESS),
    "tpu-v6e": Hardware("Google TPU v6e", 918e12, 350.0, 2.7, _GUESS),
    "laptop": Hardware("8 CPU cores, float32", 8e11, 45.0, 0.0, "3 GHz, 32 FLOPs a cycle and core (AVX2)"),
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What `flops` cost; arrays where it is one.

    device_hours: of one device; hours: on the clock, all devices sharing the work evenly. money in dollars of
    rent, kwh at the building's meter, kg_co2 of the grid.
    """

    flops: Any
    device_hours: Any
    hours: Any
    money: Any
    kwh: Any
    kg_co2: Any
    hardware: str
    n_devices: int
    mfu: float

    def __str__(self) -> str:
        """One line, of all the FLOPs together."""
        device_hours, hours, money, kwh, kg = (
            float(np.sum(v)) for v in (self.device_hours, self.hours, self.money, self.kwh, self.kg_co2)
        )
        return (
            f"{np.sum(self.flops):.3g} FLOPs: {device_hours:.3g} h of one {self.hardware}, {self.mfu:.0%} of "
            f"its peak, {hours:.3g} h on {self.n_devices}, ${money:.3g}, {kwh:.3g} kWh, {kg:.3g} kg CO2"
        )


def cost(
    flops,
    hardware: str | Hardware = "h100",
    n_devices: int = 1,
    mfu: float = MFU,
    pue: float = PUE,
    kg_co2_per_kwh: float = KG_CO2_PER_KWH,
) -> Cost:
    """What FLOPs cost on so many devices.

    Args:
      flops: of the models (forward and backward, nothing recomputed), a scalar or an array.
      hardware: a key of HARDWARE, or one's own.
      n_devices: that share the work evenly.
      mfu: share of the peak that these FLOPs reach.
      pue: power of the building over that of the machines.
      kg_co2_per_kwh: of the grid.

    Raises:
      ValueError: unknown hardware, or a number out of range.
    """
    device = find_hardware(hardware) if isinstance(hardware, str) else hardware
    if not np.all((np.asarray(flops) >= 0) & np.isfinite(flops)):
        raise ValueError(f"flops={flops}; they must be 0 or more, and finite")
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu={mfu}; it must be above 0 and at most 1")
    if n_devices < 1 or pue < 1 or kg_co2_per_kwh < 0:
        raise ValueError(
            f"n_devices={n_devices}, pue={pue}, kg_co2_per_kwh={kg_co2_per_kwh}; they are at least 1, 1 and 0"
        )
    amount = np.asarray(flops, float) if np.ndim(flops) else float(flops)
    device_hours = amount / (device.peak_flops * mfu) / 3600
    kwh = device_hours * device.watts / 1000 * pue
    return Cost(
        flops=amount,
        device_hours=device_hours,
        hours=device_hours / n_devices,
        money=device_hours * device.dollars_per_hour,
        kwh=kwh,
        kg_co2=kwh * kg_co2_per_kwh,
        hardware=device.name,
        n_devices=n_devices,
        mfu=mfu,
    )


def find_hardware(name: str) -> Hardware:
    """Hardware by its key.

    Raises:
      ValueError: there is none of that name.
    """
    if name.lower() not in HARDWARE:
        raise ValueError(f"unknown hardware {name!r}; there are {', '.join(HARDWARE)}")
    return HARDWARE[name.lower()]
