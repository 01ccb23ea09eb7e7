"""The outlook for the largest training runs: text, power, money and carbon, by scenario.

  cost        what FLOPs cost on a machine: hours, dollars, kWh, kg CO2
  inputs      every input of the outlook with its interval, unit, year and source
  projection  inputs carried forward year by year, and when a need exceeds what there is
  quoted      what an often quoted share of the world's electricity would need
  unique_data  what text that nobody else has is worth

It imports `scaling.fitting`, `scaling.laws`, `scaling.optimum` and, to read numbers, `scaling.table`; `cost`
imports none.
"""

from scaling.outlook.cost import HARDWARE, Cost, Hardware, cost
from scaling.outlook.inputs import SCENARIOS, Input, OutlookInputs, apply_settings, list_inputs
from scaling.outlook.projection import EVENTS, QUANTITIES, Outlook, project

__all__ = [
    "EVENTS",
    "HARDWARE",
    "QUANTITIES",
    "SCENARIOS",
    "Cost",
    "Hardware",
    "Input",
    "Outlook",
    "OutlookInputs",
    "apply_settings",
    "cost",
    "list_inputs",
    "project",
]
