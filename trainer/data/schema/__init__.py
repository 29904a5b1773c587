"""A schema file (YAML) says what one's own files hold: `load` reads them, `check` judges them, `guess` writes it."""

from trainer.data.schema.load import load_schema

__all__ = ["load_schema"]
