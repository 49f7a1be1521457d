"""`python -m hostagent`."""

from hostagent.cli import app

if __name__ == "__main__":
    app()
