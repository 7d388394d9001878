#!/usr/bin/env python
"""Draw predictions next to the ground truth: see --help."""

from nucdet.commands.visualize_results import main

if __name__ == "__main__":
    main()
