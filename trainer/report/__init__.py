"""One page on a training run: the data, how it learned, how well it does and for whom, and what its codes mean."""
