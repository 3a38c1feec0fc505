"""``python -m rlkit_core``: the ``rlkit`` command, where its script is not on the path."""

from rlkit_core.cli import main

if __name__ == "__main__":
    main()
