"""Every published number, by one command each."""
