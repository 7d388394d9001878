#!/usr/bin/env python
"""Draw what each part of CropRCNN does: see --help."""

from nucdet.commands.visualize_stages import main

if __name__ == "__main__":
    main()
