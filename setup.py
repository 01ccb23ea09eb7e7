"""isoflop: scaling studies in JAX. Pinned, tested versions are in constraints.txt."""

from setuptools import find_packages, setup

setup(
    name="isoflop",
    version="0.1.0",
    description="Train grids of language models, fit scaling laws with intervals, predict the next run.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["models*", "experiments*", "scaling*", "launch*"]),
    install_requires=[
        "absl-py",
        "altair",
        "flax>=0.12.8",
        "importlib_resources",  # tensorflow-datasets needs it and does not say so
        "jax>=0.10",
        "jinja2",
        "json-repair",
        "jsonschema",
        "llguidance>=1.9",
        "ml_dtypes",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pandas>=2.2",
        "py3langid>=0.4",
        "pyarrow",
        "pyyaml",
        "safetensors>=0.8",
        "sentencepiece",
        "scipy",
        "seqio",
        "vl-convert-python",
    ],
    extras_require={
        "beam": ["apache-beam>=2.77"],  # experiments/data/cleaning/beam.py, in an environment of its own
        "data": ["scikit-learn"],  # filter "classifier"
        "dev": [
            *("hypothesis", "psutil", "pyright", "pytest", "pytest-timeout", "pytest-xdist", "ruff"),
            *("kubeflow-trainer-api", "kubernetes", "kubernetes-validate", "selenium", "tensorboardX"),
            *(
                "aiohttp",
                "datasets",
                "fastwarc",
                "resiliparse",
                "scikit-learn",
                "tokenizers",
                "zstandard",
            ),  # of extras
        ],
        "clients": ["openai", "outlines"],  # tests of what people use with checkpoints
        "cuda": ["jax[cuda13]"],
        "docs": ["mkdocs-jupyter", "mkdocs-material", "mkdocstrings[python]", "pillow"],  # make docs
        "hf-datasets": ["datasets"],  # data.task=hugging_face
        "hf": ["torch", "transformers>=5"],  # tests that transformers reads what we export
        "kubernetes": ["kubernetes"],
        "lm-eval": ["lm_eval==0.4.13"],  # experiments/evaluate/harness.py
        "serve": ["aiohttp"],  # launch/serve
        "tensorboard": ["tensorboardX"],
        "tokenizers": ["tokenizers"],  # data.vocab=PATH/tokenizer.json
        "tpu": ["jax[tpu]"],
        "web": ["fastwarc", "resiliparse"],  # WARC, WET and HTML files
    },
    package_data={
        "experiments.studies.grid": ["template.toml"],
        "scaling.report": ["page.css", "page.html", "page.js", "live.js"],
    },
    entry_points={"console_scripts": ["isoflop = launch.cli:main"]},
)
