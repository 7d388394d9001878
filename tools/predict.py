#!/usr/bin/env python
"""Find the nuclei of images: see --help."""

from nucdet.commands.predict import main

if __name__ == "__main__":
    main()
