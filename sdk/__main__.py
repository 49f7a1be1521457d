"""`python -m sdk` in the tree, `dcompute` where it is installed."""

from .cli import app


def main() -> None:
    """Run the command line."""
    app(prog_name="dcompute")


if __name__ == "__main__":
    main()
