"""Other couplings: what to call from their simulations, and their streams as streams of ours."""
