"""How sure an evaluation is: intervals and calibration."""
