"""From each data set's own layout to COCO JSON: one module for each data set.

A module has ``add_arguments(parser)`` and ``convert(args)``; :mod:`nucdet.commands.convert` makes a
subcommand of each one listed in ``CONVERTERS``.
"""

# module: what it converts
CONVERTERS = {
    "dsb2018": "2018 Data Science Bowl (BBBC038), from Kaggle's folders",
    "livecell": "LIVECell, from its official release",
    "sartorius": "Sartorius cell instance segmentation, from Kaggle's csv",
    "synthetic": "drawn images, for demos and tests",
    "labels": "your own images with label maps",
    "coco": "your own images with a COCO JSON",
}
