"""Searches for the hyperparameters of a model: `python -m trainer.tune --help`."""

import warnings

import optuna

# What it says of itself would bury what the search says.
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
