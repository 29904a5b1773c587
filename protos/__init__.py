"""The words the rooms share: messages on disk and on the wire, manifests, code keys, errors.

Nothing here imports TensorFlow, so that a frontend can depend on it.
"""
