"""Marks, draws and the printed table of the faults; see table.py."""

import pytest
from end_to_end.conftest import cache, videos  # noqa: F401, fixtures
from faults import process, table


def pytest_addoption(parser):
    # Seen only where this folder is named on the command line, as `make faults` does.
    parser.addoption("--draws", type=int, default=None, help="how often tests with randomness run, and print the table of faults")


def pytest_generate_tests(metafunc):
    if "draw" in metafunc.fixturenames:
        metafunc.parametrize("draw", range(metafunc.config.getoption("--draws", default=None) or 1))


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("fault"):
            key, case = mark.args
            assert key in table.KEYS, f"{item.nodeid}: {key} is no row of tests/faults/table.py"
            item.user_properties.append(("fault", (key, case)))


@pytest.fixture(scope="session")
def unbroken(cache, videos, tmp_path_factory):  # noqa: F811
    """The workdir of a run of `process.TRAIN` to which nothing happened. Do not write into it."""
    workdir = tmp_path_factory.mktemp("unbroken")
    process.run(cache, *process.TRAIN, f"--workdir={workdir}", f"--config.data.root={videos}")
    return workdir


@pytest.fixture
def note(record_property):
    """A function that puts a figure beside the case in the printed table."""
    return lambda text: record_property("note", text)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--draws", default=None):
        terminalreporter.section("faults")
        terminalreporter.write_line(table.render(_outcomes(terminalreporter)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    whole = session.config.getoption("--draws", default=None) and not session.config.option.keyword
    if whole and reporter is not None and "NOT TESTED" in table.render(_outcomes(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _outcomes(reporter) -> dict[str, dict[str, list[tuple[str, list[str]]]]]:
    """What `table.render` shows, of the tests that were run; a test that could not be set up has failed."""
    outcomes: dict[str, dict[str, list[tuple[str, list[str]]]]] = {}
    for kind, outcome in (("passed", "passed"), ("failed", "failed"), ("error", "failed"), ("skipped", "skipped")):
        for report in reporter.stats.get(kind, []):
            notes = [value for name, value in report.user_properties if name == "note"]
            for name, value in report.user_properties:
                if name == "fault":
                    key, case = value
                    outcomes.setdefault(key, {}).setdefault(case, []).append((outcome, notes))
    return outcomes
