"""Where reductions run.

In memory (`fold`), over the chunks of a Dask array (`tree`), over timesteps (`stream`), and in
rounds that send a small value to every block and reduce the answers (`rounds`).
"""
