"""From each data set's own layout to COCO JSON: one module a data set.

A module has ``add_arguments(parser)`` and ``convert(args)``; ``tools/convert_dataset.py`` makes a
subcommand of each one listed in ``CONVERTERS``.
"""

CONVERTERS = ("dsb2018", "livecell", "sartorius", "synthetic", "labels", "coco")
