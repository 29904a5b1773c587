import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from beam_index.geometry import CALL_ITEMS, call_codes
from beam_index.saved_model import SavedModel
from protos.errors import UserError
from tests.beam_index.tables import DeepScorer

KEYS, ITEMS = np.arange(call_codes(0)), np.arange(CALL_ITEMS, dtype=np.int32)


@pytest.fixture(scope="module")
def deep_scorer(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("deep") / "scorer")
    scorer = DeepScorer(call_codes(0), CALL_ITEMS)
    tf.saved_model.save(scorer, directory, signatures=scorer.__call__.get_concrete_function())
    return directory


def score_function(directory: str):
    return SavedModel(directory).signature(["keys", "items"], ["scores"])


def test_bits_are_the_same_in_every_call_thread_and_session(deep_scorer):
    found = set()
    for _ in range(2):
        score = score_function(deep_scorer)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            found |= {scores.tobytes() for (scores,) in pool.map(lambda _: score(KEYS, ITEMS), range(9))}  # noqa: B023
    assert len(found) == 1


def test_scores_are_those_of_the_model(deep_scorer):
    loaded = tf.saved_model.load(deep_scorer).signatures["serving_default"]
    expected = loaded(keys=tf.constant(KEYS), items=tf.constant(ITEMS))["scores"]
    found = score_function(deep_scorer)(KEYS, ITEMS)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_signature_with_other_names_is_refused(deep_scorer):
    with pytest.raises(UserError, match=r"takes \['items', 'keys'\] and gives \['scores'\].*; expected \['history'\]"):
        SavedModel(deep_scorer).signature(["history"], ["keys"])


def test_a_process_that_runs_several_threads_an_op_is_refused(deep_scorer, monkeypatch):
    # This process has one, by the environment (see conftest.py); without that, it has what TensorFlow started with.
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    with pytest.raises(UserError, match=r"several threads an op.*python -m beam_index\.build"):
        score_function(deep_scorer)
