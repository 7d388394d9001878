"""Networks, one package a system; importing this package imports every module in it.

So whatever a file here registers, with Detectron2 or with nucdet, is known by its name, and adding
a network, a head or a source of weights takes that file alone.
"""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
