"""A new system costs a file in systems/ and a config: nothing else in the package may know the name or the keys of one."""

import ast
import re
from pathlib import Path

import pytest

import avc_jax
from avc_jax import schema, systems

PACKAGE = Path(avc_jax.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*")
               if path.suffix in (".py", ".js", ".css", ".html") and path.parent.name != "systems")
NAMES = systems.names()
OWN_KEYS = {key for name in NAMES for key in schema.schema(name)["system"]} - {"name"}


def told(source: str) -> list[str]:
    """What in a file's text, code or not, is about one system. Titles of papers (AVLnet, L3-Net) are written otherwise."""
    names = [f"names the system {name}" for name in re.findall(rf"\b({'|'.join(NAMES)})\b", source)]
    return names + [f"knows the key system.{key}" for key in re.findall(r"\bconfig\.system\.(\w+)", source) if key in OWN_KEYS]


def imported(source: str) -> list[str]:
    """The modules of systems/ that code imports, besides the contract."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if re.match(r"avc_jax\.systems\.(?!base\b)", name) and name.split(".")[2] in NAMES]


@pytest.mark.parametrize("path", FILES)
def test_no_file_outside_of_systems_knows_one(path):
    source = (PACKAGE / path).read_text()
    assert told(source) + (imported(source) if path.endswith(".py") else []) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_system_knows_another(name):
    source = (PACKAGE / "systems" / f"{name}.py").read_text()
    assert [other for other in NAMES if other != name and re.search(rf"\b{other}\b", source)] == []


@pytest.mark.parametrize("line", [
    'if config.system.name == "l3net":', "# as l3net does", "from avc_jax.systems import l3net", "avc_jax.systems.l3net.make",
    'TITLES = {"l3net": "L3-Net"}', "config.system.head", "--config.system.conv1_stride=2"])
def test_the_test_sees_what_it_looks_for(line):
    assert told(line)


@pytest.mark.parametrize("line", ["as in L3-Net (arXiv:1705.08168)", "AVLnet's 32 clips", "config.system.name", "l3network",
                                  "from avc_jax.systems import base"])
def test_the_test_lets_papers_and_the_contract_be_named(line):
    assert told(line) == []


def test_imports_are_seen_whatever_they_are_written_like():
    assert imported("from avc_jax.systems import base, l3net") == ["avc_jax.systems.l3net"]
    assert imported("def f():\n    import avc_jax.systems.l3net as net") == ["avc_jax.systems.l3net"]
    assert imported("from avc_jax.systems.l3net import L3Net") == ["avc_jax.systems.l3net.L3Net"]


def test_titles_are_those_of_the_papers_and_unknown_names_are_their_own():
    assert systems.title("l3net") == "L3-Net"
    assert systems.title("of_another_day") == "of_another_day"
    for name in NAMES:
        assert 0 < len(systems.title(name)) < 30, "the docstring of a system begins with its title and a colon"
