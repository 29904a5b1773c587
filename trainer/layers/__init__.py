"""The model's layers: tokenizer, quantizer, scorer."""
