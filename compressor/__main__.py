"""`python -m compressor`."""

from compressor.cli import entry

if __name__ == "__main__":
    entry()
