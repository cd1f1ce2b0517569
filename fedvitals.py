"""The command `fedvitals`, whatever else is called flows or tasks on PYTHONPATH."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command line with our own packages, here and in processes that it starts."""
    here = str(Path(__file__).parent)
    if others := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join((here, others))
        sys.path.insert(0, here)
    from flows.cli import main as command

    command()


if __name__ == "__main__":
    main()
