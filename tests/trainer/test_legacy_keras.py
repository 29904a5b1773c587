"""Keras 2 is chosen before TensorFlow is imported, or the user is told what to do."""

import os
import subprocess
import sys

import pytest

from trainer._legacy_keras import VARIABLE


def run_fresh(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new process, whose environment has of our two variables only those given."""
    inherited = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "TF_CPP_MIN_LOG_LEVEL")}
    return subprocess.run([sys.executable, "-c", code], env=inherited | variables, capture_output=True, text=True)


def test_importing_the_trainer_gives_keras_2_and_a_quiet_terminal() -> None:
    result = run_fresh("import trainer, tensorflow as tf; print(tf.keras.Model.__module__)")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("tf_keras.")


def test_a_users_log_level_stands() -> None:
    show = "import trainer, os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert run_fresh(show, TF_CPP_MIN_LOG_LEVEL="0").stdout == "0\n"


def test_tensorflow_imported_first_is_an_error_that_says_what_to_do() -> None:
    result = run_fresh("import tensorflow, trainer")
    assert result.returncode != 0
    message = result.stderr.splitlines()[-1]
    assert "tensorflow was imported before sparcode's trainer and without TF_USE_LEGACY_KERAS=1" in message
    assert "put `import trainer` before the first `import tensorflow`, or set TF_USE_LEGACY_KERAS=1" in message


@pytest.mark.parametrize("yes", ["1", "true", "True"])
def test_tensorflow_imported_first_with_the_variable_is_fine(yes: str) -> None:
    # An empty stand-in spares the seconds of TensorFlow's import: only its presence is looked at.
    pretend = "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow')"
    code = f"{pretend}; import trainer, os; print(os.environ['{VARIABLE}'])"
    result = run_fresh(code, **{VARIABLE: yes})
    assert (result.stdout, result.stderr) == ("1\n", "")


def test_asking_for_keras_3_is_an_error() -> None:
    result = run_fresh("import trainer", **{VARIABLE: "0"})
    assert result.returncode != 0
    assert "the environment sets TF_USE_LEGACY_KERAS='0', which asks for Keras 3" in result.stderr
    assert "unset TF_USE_LEGACY_KERAS or set it to 1" in result.stderr
