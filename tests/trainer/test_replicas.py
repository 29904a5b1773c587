"""I6: two replicas give what one gives on the joined batch. In a process of its own: devices are split once."""

import subprocess
import sys
import textwrap

SCRIPT = textwrap.dedent(
    """
    import trainer
    import numpy as np
    import tensorflow as tf
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    from trainer.config import QuantizerConfig
    from trainer.layers.quantizer import VectorQuantizer

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for structure, books in (("residual", 1), ("separate", 2), ("product", 2)):
        config = QuantizerConfig(structure, num_query_tokens=3, num_codebooks=books, num_codewords=4,
                                 revive_fraction=0.0)
        shape = (10, config.num_input_vectors, 8)
        batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        step = tf.constant(0, tf.int64)

        def started():
            layer = VectorQuantizer(config, 8)
            layer.activate(layer.codebooks.numpy(), np.ones(layer.counts.shape, np.float32))
            return layer

        alone = started()
        for _ in range(3):
            alone.update(alone(tf.constant(batch)), tf.fill([10], True), step)

        with strategy.scope():
            shared = started()

        @tf.function
        def one(part):
            shared.update(shared(part), tf.fill([5], True), step)

        parts = tf.data.Dataset.from_tensor_slices(batch).batch(10).repeat(3)
        for part in strategy.experimental_distribute_dataset(parts):
            strategy.run(one, args=(part,))
        for name in ("codebooks", "counts", "sums"):
            for copy in strategy.experimental_local_results(getattr(shared, name)):
                np.testing.assert_allclose(copy.numpy(), getattr(alone, name).numpy(), rtol=1e-5, atol=1e-6)
        assert strategy.num_replicas_in_sync == 2
    print("equal")
    """
)


def test_two_replicas_equal_one_on_the_joined_batch():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal")
