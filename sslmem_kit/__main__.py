"""``python -m sslmem_kit`` is ``sslmem``."""

from sslmem_kit.cli import entry

if __name__ == "__main__":
    entry()
