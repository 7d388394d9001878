"""Networks, one package per system; importing this package imports every module in it.

Whatever a file here registers, with Detectron2 or with nucdet, can therefore be found by its name:
a new network, head or source of weights needs only its own file.
"""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
