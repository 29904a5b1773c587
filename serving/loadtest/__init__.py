"""Load for a served model as its users would make it: when they come, not when the server has time for them."""
