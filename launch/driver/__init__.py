"""Takes a study through its stages, from planning to the table of its runs.

    stages        plans each stage from the results of those before it
    rehearsal     what stages that wait will come to
    runs_table    runs.csv and runs.json
    rows          runs as rows to look at: all of a study, with every setting, or those of any table
    drive         stage after stage in this process, with a pool of workers
    outcome       how that ended, as messages and exit codes

It may import launch.store, launch.monitor, launch.workers, and the rooms below. stages, rehearsal, rows and
runs_table import pandas: import them late in a command that may end without them.
"""
