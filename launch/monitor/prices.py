"""What the work of a study's workers comes to: hours, and money and energy where a site file gives prices.

[cost]  # of one worker, with the device it has
per_hour = 2.5
currency = "EUR"
watts = 700
flops_per_second = 4e14  # for plans before anything was measured
"""

import json
from typing import Any

from experiments.files import read_json, write_atomic
from launch.monitor.text import short
from launch.store import Store

KEYS = {
    "per_hour": (int, float),
    "currency": (str,),
    "watts": (int, float),
    "flops_per_second": (int, float),
}


def note(store: Store, table: dict[str, Any]) -> None:
    """Keeps the table [cost] of a site file with the study; raises as `checked`."""
    if checked(table) != read(store):
        write_atomic(store.root / "prices.json", json.dumps(table))


def checked(table: dict[str, Any]) -> dict[str, Any]:
    """The same table.

    Raises:
      ValueError: an unknown key or a value of the wrong kind.
    """
    for key, value in table.items():
        if key not in KEYS:
            raise ValueError(f"[cost].{key}: there is no such price; known are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or (not isinstance(value, str) and value < 0):
            raise ValueError(
                f"[cost].{key}={value!r}; expected {'a name' if key == 'currency' else 'a number'}"
            )
    return table


def read(store: Store) -> dict[str, Any]:
    """The prices kept with the study; {} if nobody said any."""
    path = store.root / "prices.json"
    return read_json(path) if path.exists() else {}


def said_rates(prices: dict[str, Any]) -> dict[int, float]:
    """FLOP/s of a worker as `measured_rates` gives them, the same for every size; {} if nobody said any."""
    return {1: prices["flops_per_second"]} if prices.get("flops_per_second") else {}


def words(worker_seconds: float, prices: dict[str, Any]) -> str:
    """ "3.2 worker-hours, 8 EUR, 2.24 kWh"."""
    hours = worker_seconds / 3600
    said = [f"{short(hours)} worker-hour{'' if short(hours) == '1' else 's'}"]
    if "per_hour" in prices:
        said.append(f"{short(hours * prices['per_hour'])} {prices.get('currency', 'in money')}")
    if "watts" in prices:
        said.append(f"{short(hours * prices['watts'] / 1000)} kWh")
    return ", ".join(said)
