#!/usr/bin/env python3
"""Train or evaluate: train_net.py --config-file FILE [--resume] [--eval-only] [KEY VALUE …]"""

from detectron2.engine import default_argument_parser

from nucdet.engine.run import run
from nucdet.errors import run_tool

if __name__ == "__main__":
    parser = default_argument_parser(epilog="KEY VALUE pairs override the config file.")
    run_tool(lambda: run(parser.parse_args()))
