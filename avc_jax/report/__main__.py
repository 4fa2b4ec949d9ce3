"""`python -m avc_jax.report --workdir=W` writes W/report.html and prints its path."""

import argparse
import sys

from avc_jax import errors
from avc_jax.report import page


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (see avc_jax/errors.py)."""
    parser = argparse.ArgumentParser(prog="python -m avc_jax.report", description=__doc__)
    parser.add_argument(
        "--workdir", required=True, help="work directory of a run; report.html is written into it"
    )
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        # argparse ends with 2 on a bad flag; this project's code for that is 64.
        return 0 if stop.code == 0 else errors.ConfigError.exit_code
    try:
        path = page.write(args.workdir)
    except errors.AvcError as error:
        print(f"avc_jax.report: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
