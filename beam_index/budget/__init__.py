"""An index within a budget of bytes (`--max_bytes`): what can be had for it, measured, and the best of it chosen."""
