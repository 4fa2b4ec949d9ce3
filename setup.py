"""Installs avc_jax: `pip install .`"""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "avc_jax" / "__init__.py").read_text()
LOWEST = {"pillow": "12.1.1", "pyarrow": "25.0.1"}  # older than what we pin, because Beam takes no newer ones


def needs(name: str) -> list[str]:
    """The direct needs in a file, as ranges; requirements.txt pins one tested choice of everything."""
    lines = [line for line in (HERE / name).read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return [f"{package}>={LOWEST.get(package, version)}" for package, version in pairs]


setup(
    name="avc_jax",
    version=INIT.split('__version__ = "')[1].split('"')[0],
    description="Audio-visual learning systems in JAX, from raw videos",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["avc_jax", "avc_jax.*"]),
    package_data={"avc_jax.report": ["*.css", "*.js", "*.html"]},
    install_requires=needs("requirements.in"),
    extras_require={"beam": needs("requirements-beam.in"), "search": needs("requirements-search.in")},
)
