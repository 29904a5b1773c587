"""The gate before a promotion: a canary held against what is stable, by asking both."""
