"""Serving side by side: SparCode's servable and what else retrieves candidates, on one world."""
