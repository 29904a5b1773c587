"""What `python -m pipeline.compare` is made of: who takes part, how each is measured, what is kept and reported."""
