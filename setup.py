"""Which packages and data files a wheel holds; everything else is in pyproject.toml.

The yamls of ``configs/`` travel as ``nucdet/configs``, where nucdet.config_files finds them.
"""

from setuptools import find_namespace_packages, setup

_CONFIGS = ["nucdet.configs"]
# setuptools warns about folders of data that are not listed as packages
_CONFIGS += [f"nucdet.configs.{folder}" for folder in find_namespace_packages("configs")]

setup(
    packages=[*find_namespace_packages(include=["nucdet*"]), *_CONFIGS],
    package_dir={"nucdet.configs": "configs"},
    package_data={
        "nucdet.model_zoo": ["*"],
        "nucdet.export": ["*.html", "*.css", "*.js"],
        "nucdet.napari": ["napari.yaml"],
        **{package: ["*.yaml"] for package in _CONFIGS},
    },
)
