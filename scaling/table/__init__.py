"""Tables of runs: read, named, checked, converted.

  runs            Runs and UsableRuns, and how a table becomes one: read_runs, check, read_points
  formats         files of rows: CSV, JSON, Parquet; column_names: names that public tables have for ours,
                  header_units: with their units
  number_text     numbers as people write them: 7,121,395, 3,25, 7.1M
  cell_values     which cells are numbers that can be used; table_checks: what is odd about the whole
  unfit_rows      runs that no law of the loss is fitted to: starved of steps, mostly warm-up, mistuned
  seed_noise      how far runs end apart that differ in their seed alone
  curves          loss curves: their ends, cuts at budgets, points inside a decay
  conventions     what N, the loss and FLOPs count, and conversions
  flops_per_token what a token costs by size, as the runs were counted

Imports nothing else of scaling.
"""
