#!/usr/bin/env python3
"""Train or evaluate: train_net.py --config-file FILE [--resume] [--eval-only] [KEY VALUE …]"""

from nucdet.train.run import command_line

if __name__ == "__main__":
    command_line()
