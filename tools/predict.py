#!/usr/bin/env python
"""Find the nuclei of images: predict.py --input FILE|FOLDER|PATTERN --output DIR [KEY VALUE …]"""

from nucdet.predict.command import command_line

if __name__ == "__main__":
    command_line()
